"""How values are written on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """A length of time in the unit that a person would use.

    >>> duration(0.4), duration(42), duration(600), duration(9000), duration(400000)
    ('1 s', '42 s', '10 min', '2.5 h', '4.6 days')
    """
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def size(n_bytes: float) -> str:
    """A number of bytes.

    >>> size(900), size(2_500_000), size(3e9)
    ('900 B', '2.5 MB', '3.0 GB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} B"


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
