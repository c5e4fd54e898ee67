"""Numbers as a reader sees them: never rounded to a certainty that was not measured, signed where it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "–"
_NAMES = {"lira": "LiRA", "rmia": "RMIA", "pptp": "PPTP", "relaxloss": "RelaxLoss"}


def percent(value: float | None, *others: float | None) -> str:
    """``95.4 %`` for 0.954; with the digits that ``value`` and ``others`` (its interval) need together.

    >>> percent(0.954), percent(0.0012), percent(0.99997), percent(1.0)
    ('95.4 %', '0.12 %', '99.997 %', '100.0 %')
    """
    return NONE if value is None else f"{100 * value:.{_digits(value, *others)}f} %"


def _digits(*values: float | None) -> int:
    return max((_digits_of(value) for value in values if value is not None), default=1)


def _digits_of(value: float) -> int:
    """Decimals of a percentage: one; two below 1 %; more where rounding would claim 0 or 100."""
    digits = 2 if 0 < value < 0.01 else 1
    while 0 < value < 1 and digits < 6 and float(f"{100 * value:.{digits}f}") in (0.0, 100.0):
        digits += 1
    return digits


def percent_range(low: float | None, high: float | None, *others: float | None) -> str:
    """``94.9–95.8`` (in percent, without the sign), empty if an end is missing."""
    if low is None or high is None:
        return ""
    digits = _digits(low, high, *others)
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}"


def area(value: float | None) -> str:
    """``0.954``; more digits where three would round to a perfect attack.

    >>> area(0.9541), area(0.99996)
    ('0.954', '0.99996')
    """
    if value is None:
        return NONE
    digits = 3
    while 0 < value < 1 and digits < 6 and float(f"{value:.{digits}f}") in (0.0, 1.0):
        digits += 1
    return f"{value:.{digits}f}"


def area_range(low: float | None, high: float | None) -> str:
    """``0.949–0.958``, empty if an end is missing."""
    return "" if low is None or high is None else f"{area(low)}–{area(high)}"


def signed(value: float | None, digits: int = 3) -> str:
    """``+0.041`` or ``−0.041``, with a real minus."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "−")


def signed_range(low: float | None, high: float | None, digits: int = 3) -> str:
    """``−0.041 to +0.002``, empty if an end is missing."""
    return "" if low is None or high is None else f"{signed(low, digits)} to {signed(high, digits)}"


def points(value: float | None) -> str:
    """``+2.3`` for a fraction of 0.023: percentage points, signed."""
    return NONE if value is None else signed(100 * value, 1)


def points_range(low: float | None, high: float | None) -> str:
    """``+1.9 to +2.7``, empty if an end is missing."""
    return "" if low is None or high is None else f"{points(low)} to {points(high)}"


def count(value: int | None) -> str:
    """``20,000``."""
    return NONE if value is None else f"{value:,}"


def plural(value: int, one: str, many: str = "") -> str:
    """``1 model``, ``8 models``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """``3.2 s``, ``4 min 10 s``, ``2 h 05 min``.

    >>> duration(0.024), duration(3.21), duration(250.0), duration(7500.0)
    ('0.024 s', '3.2 s', '4 min 10 s', '2 h 05 min')
    """
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def method_name(name: str) -> str:
    """``LiRA offline`` for ``lira_offline``: a catalogue name as the field writes it."""
    return " ".join(_NAMES.get(part, part) for part in name.split("_"))


def level_of(interval: Mapping[str, Any]) -> str:
    """``95 %``: the coverage that an interval aims at."""
    level = interval.get("level")
    return "95 %" if level is None else f"{100 * level:g} %"
