"""Lengths of time and amounts of memory in the words of a sentence."""

from __future__ import annotations


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


def megabytes(n_bytes: float) -> str:
    """A number of bytes that are needed or free, comparable at a glance.

    >>> megabytes(900_000), megabytes(2_500_000_000), megabytes(3e10)
    ('1 MB', '2,500 MB', '30.0 GB')
    """
    return f"{max(n_bytes, 0) / 1e6:,.0f} MB" if n_bytes < 1e10 else f"{n_bytes / 1e9:,.1f} GB"
