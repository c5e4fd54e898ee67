"""A comparison told: results in, one self-contained page, PNG files or Markdown out. Nothing is computed again."""

from membrane.report.comparison.check import check_comparison
from membrane.report.comparison.markdown import comparison_markdown
from membrane.report.comparison.page import comparison_html

__all__ = ["check_comparison", "comparison_html", "comparison_markdown"]
