"""Results told: a dictionary from a results file in, one self-contained page, PNG files or Markdown out.

Nothing is computed again here, so the same results give the same page.
"""

from membrane.report.check import check_results
from membrane.report.markdown import to_markdown
from membrane.report.page import to_html
from membrane.report.tier import tier
from membrane.report.verdict import verdict

__all__ = ["check_results", "tier", "to_html", "to_markdown", "verdict"]
