"""How values are written on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> str:
    """Columns under their heads, the first to the left, the others to the right.

    >>> print(table([["region", "drop"], ["stem", "0.1"]]))
      region  drop
      stem     0.1
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)
    return "\n".join(indent + line.rstrip() for line in lines)


def wrapped(text: str, indent: str = "") -> str:
    """Text broken at 100 columns, further lines indented a little more."""
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
