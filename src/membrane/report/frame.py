"""What the figures share: a frame with axes, how entries are marked, and which marks the page shows at first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from membrane.report.access import Results, baseline_position
from membrane.report.palette import colour_index, outline, shape
from membrane.report.svg import Scale, label, line, tag

Ends = tuple[float, float, float]
WIDTH, HEIGHT = 640.0, 430.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 26.0, 36.0, 56.0


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Args:
        svg: The whole ``<svg>``.
        summary: What a reader who cannot see it should know.
    """

    svg: str
    summary: str


def horizontal(low: float, high: float, log: bool = False) -> Scale:
    """Scale along the frame's bottom."""
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def vertical(low: float, high: float, log: bool = False) -> Scale:
    """Scale along the frame's left side, upwards."""
    return Scale(low, high, HEIGHT - BOTTOM, TOP, log)


def axes(
    x: Scale, y: Scale, names: tuple[str, str], written: tuple[Callable[[float], str], Callable[[float], str]]
) -> str:
    """Grid, ticks and names of both axes; names and the ways to write their ticks are (x, y)."""
    bottom = HEIGHT - BOTTOM
    parts = [line(x(tick), TOP, x(tick), bottom, "grid") for tick in x.ticks()]
    parts += [line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid") for tick in y.ticks()]
    parts += [label(x(tick), bottom + 20, written[0](tick), "tick", "middle") for tick in x.ticks()]
    parts += [label(LEFT - 9, y(tick) + 4, written[1](tick), "tick", "end") for tick in y.ticks()]
    parts.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, names[0], "axis", "middle"))
    parts.append(label(4, 16, names[1], "axis"))
    return tag("g", *parts, class_="axes")


def guides(x: Scale, y: Scale, guess: float, levels: Iterable[float]) -> str:
    """Where guessing is, accuracies to compare with, and which corner is better."""
    parts = [
        line(x(guess), TOP, x(guess), HEIGHT - BOTTOM, "guess"),
        label(x(guess) + 6, HEIGHT - BOTTOM - 8, "guessing", "note"),
        *(line(LEFT, y(value), WIDTH - RIGHT, y(value), "level") for value in levels),
        label(x(guess) + 8, TOP + 16, "↖ better", "note strong"),
    ]
    return tag("g", *parts, class_="guides")


def whiskers(leakage: Ends, accuracy: Ends, x: Scale, y: Scale) -> str:
    """Interval bars of a point: low end, value and high end of both."""
    (low, value, high), (bottom, middle, top) = leakage, accuracy
    across = line(x(low), y(middle), x(high), y(middle), "whisker")
    return across + line(x(value), y(bottom), x(value), y(top), "whisker")


def canvas(*parts: str, kind: str, summary: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """The ``<svg>`` around a figure."""
    return tag(
        "svg",
        *parts,
        class_=kind,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=summary,
        preserveAspectRatio="xMidYMid meet",
    )


def entry_class(results: Results, position: int) -> str:
    """``e3``, or ``eink`` for the baseline: what gives a mark its colour."""
    index = colour_index(position, baseline_position(results))
    return "eink" if index is None else f"e{index}"


def mark(position: int, x: float, y: float, radius: float = 6.0) -> str:
    """An entry's mark."""
    return tag("path", class_="mark", d=outline(shape(position), x, y, radius))


def swatch(position: int) -> str:
    """An entry's mark alone, for legends."""
    return tag("svg", mark(position, 8, 8, 5.0), class_="swatch", viewBox="0 0 16 16", aria_hidden="true")


def shown(visible: bool) -> str:
    """Class of what the page hides until it is asked for."""
    return "" if visible else " off"
