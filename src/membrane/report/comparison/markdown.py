"""A comparison as Markdown: the board, all methods at one loss of accuracy, every point, limits."""

from __future__ import annotations

from membrane.report.access import Results
from membrane.report.comparison import tables
from membrane.report.comparison.check import check_comparison, shown_settings
from membrane.report.comparison.words import HEADLINE, LIMITS, sentences
from membrane.report.markdown import escape, table_lines


def comparison_markdown(results: Results) -> str:
    """Title, verdict, tables and limits, short enough for a review.

    Raises:
        StoreError: If nothing is measured yet.
    """
    check_comparison(results)
    blocks = [
        f"## {escape(results['title'])}",
        "\n".join(f"- {escape(one)}" for one in sentences(results)),
        table_lines(tables.board(results, HEADLINE)),
    ]
    for setting in shown_settings(results):
        found = tables.matched(setting, HEADLINE)
        blocks += [
            f"### {escape(setting['name'])}",
            table_lines(found) if found else "",
            table_lines(tables.points(setting)),
        ]
    left = tables.unfinished(results)
    blocks += [
        table_lines(left) if left else "",
        "What this does not show:\n\n" + "\n".join(f"- {escape(one)}" for one in LIMITS),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"
