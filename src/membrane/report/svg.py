"""Drawing in SVG: escaped tags, scales and ticks. Coordinates in view-box units, y downwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

MINUS = "−"


def tag(name: str, *children: str, **attributes: str | float | None) -> str:
    """One element; ``children`` are finished markup, attributes are escaped, None leaves one out.

    Underscores become dashes, a trailing one is dropped (``class_``, ``data_slice``).

    >>> tag("text", words("<b>"), class_="tick", x=1.25)
    '<text class="tick" x="1.25">&lt;b&gt;</text>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def words(text: str) -> str:
    """Escaped text."""
    return escape(text)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{round(value, 2):g}"


def label(x: float, y: float, text: str, class_: str, anchor: str = "start") -> str:
    """Text at a point."""
    return tag("text", words(text), class_=class_, x=x, y=y, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return tag("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def title(text: str) -> str:
    """What a pointer reads: shown by the browser, or by the page's own tooltip."""
    return tag("title", words(text))


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` laid between two coordinates; values outside are drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Coordinate of a value."""
        return self.start + self._part(min(max(value, self.low), self.high)) * (self.end - self.start)

    def _part(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the scale: decades if it is logarithmic."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**k for k in range(first, last + 1)]
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [round(k * step, 10) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.8)


def around(values: list[float], margin: float = 0.08, least: float = 0.02) -> tuple[float, float]:
    """Ends of a scale that holds all values with some room, at least ``least`` wide."""
    low, high = min(values), max(values)
    room = max(margin * (high - low), (least - (high - low)) / 2, 1e-6)
    return low - room, high + room


def tick_percent(value: float) -> str:
    """``0.1 %``, ``60 %``: as short as the value allows."""
    return f"{100 * value:.6g} %".replace("-", MINUS)


def tick_number(value: float) -> str:
    """``0.05``, ``−0.1``."""
    return f"{value:.6g}".replace("-", MINUS)
