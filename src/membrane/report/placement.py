"""Where the name of a point fits in a figure, so that names do not lie on marks or on each other."""

from __future__ import annotations

from membrane.report.frame import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Spot = tuple[float, float, str]
"""x, baseline and anchor of a name."""
_LETTER = 6.6  # width of a letter at the size that names are written in; measured on a wide font, so rather too much


def mark_box(x: float, y: float) -> Box:
    """Room that a mark takes."""
    return x - 8, y - 8, x + 8, y + 8


def name_box(spot: Spot, name: str) -> Box:
    """Room that a name takes at a spot."""
    width = _LETTER * len(name)
    left = spot[0] - (width if spot[2] == "end" else 0)
    return left, spot[1] - 11, left + width, spot[1] + 3


def spot_for(x: float, y: float, name: str, taken: list[Box]) -> Spot:
    """The spot near a point that shares least with what is there; the upper right if all are equal."""
    spots: list[Spot] = []
    for rise in (-8, 17, -24, 33):
        spots += [(x + 11, y + rise, "start"), (x - 11, y + rise, "end")]
    return min(spots, key=lambda spot: _overlap(name_box(spot, name), taken))


def _overlap(box: Box, taken: list[Box]) -> float:
    """Area shared with what is there, and much more for what leaves the frame."""
    outside = (LEFT - box[0], box[2] - WIDTH + RIGHT, box[3] - HEIGHT + BOTTOM, TOP - box[1])
    return sum(_shared(box, one) for one in taken) + 100 * sum(max(0.0, part) for part in outside)


def _shared(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
