"""The results as Markdown: short enough for a review, complete enough to be checked."""

from __future__ import annotations

from membrane.report.access import Results
from membrane.report.against import against
from membrane.report.check import check_results
from membrane.report.guarantees import guarantees
from membrane.report.limits import limits
from membrane.report.records import spread
from membrane.report.tables import Cell, Table, comparisons, defenses
from membrane.report.tier import tier
from membrane.report.verdict import verdict

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\|*_`[]#~"} | {"<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "})


def to_markdown(results: Results) -> str:
    """Title, verdict, the tables of defenses, changes, single examples and guarantees, the tier, limits.

    Raises:
        StoreError: If ``results`` is not a whole results dictionary.
    """
    check_results(results)
    more = (against(results), comparisons(results), spread(results), guarantees(results))
    blocks = [
        f"## {escape(results['title'])}",
        "\n".join(f"- {escape(sentence)}" for sentence in verdict(results)),
        table_lines(defenses(results)),
        *(table_lines(one) for one in more if one),
        " ".join(escape(sentence) for sentence in tier(results)),
        "What this does not show:\n\n" + "\n".join(f"- {escape(sentence)}" for sentence in limits(results)),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def escape(text: str) -> str:
    """Text without signs that Markdown or HTML would take for their own."""
    return text.translate(_SPECIAL)


def table_lines(table: Table) -> str:
    """A pipe table; columns of a group carry its name, cells their interval and n."""
    rules = [":--" if cell.kind in ("head", "text") else "--:" for cell in table.rows[0]]
    body = [[_cell(cell) for cell in row] for row in table.rows]
    lines = [[escape(one) for one in table.heads], rules, *body]
    notes = "\n\n".join(f"({i}) {escape(note)}" for i, note in enumerate(table.notes, 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (f"\n\n{notes}" if notes else "")


def _cell(cell: Cell) -> str:
    interval = f"[{cell.interval}]" if cell.interval else ""
    sample = f"({cell.n})" if cell.n else ""
    mark = f"({cell.mark})" if cell.mark else ""
    return " ".join(filter(None, [escape(cell.text) + mark, interval, sample]))
