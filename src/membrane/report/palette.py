"""Colours and marks that tell entries apart, for all kinds of colour vision, on paper and on dark screens.

Built on Okabe and Ito 2008, "Color Universal Design", darkened for light pages and lightened for dark ones until each
has a contrast of 3:1 or more with its background; every colour comes with a shape of its own.
"""

from __future__ import annotations

import math

LIGHT = ("#0069a8", "#c8500a", "#007a5a", "#a83f86", "#96690a", "#2a88bd", "#6650b8", "#7d4b32")
DARK = ("#58a9ea", "#ff8f52", "#35c79c", "#e596c8", "#e8b54a", "#a5d9fb", "#ada0f0", "#cfa184")
INK_LIGHT, INK_DARK = "#3c3a36", "#d8d5cd"
SHAPES = ("circle", "square", "up", "diamond", "down", "pentagon", "star")
MATPLOTLIB = {"circle": "o", "square": "s", "up": "^", "diamond": "D", "down": "v", "pentagon": "p", "star": "*"}

_CORNERS = {"square": (4, 45.0, 1.25), "up": (3, -90.0, 1.3), "down": (3, 90.0, 1.3), "diamond": (4, 0.0, 1.3)}


def colour_index(position: int, baseline: int | None) -> int | None:
    """Which colour the entry at ``position`` wears; None (ink) for the baseline."""
    if position == baseline:
        return None
    return (position if baseline is None or position < baseline else position - 1) % len(LIGHT)


def shape(position: int) -> str:
    """Mark of the entry at ``position``; shapes and colours repeat after different numbers."""
    return SHAPES[position % len(SHAPES)]


def outline(kind: str, x: float, y: float, radius: float) -> str:
    """SVG path of a mark around (x, y)."""
    if kind == "circle":
        r = radius
        return f"M{x - r:.1f} {y:.1f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0Z"
    corners = _star(radius) if kind == "star" else _polygon(kind, radius)
    return "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners) + "Z"


def _polygon(kind: str, radius: float) -> list[tuple[float, float]]:
    n, start, scale = _CORNERS.get(kind, (5, -90.0, 1.15))
    angles = [math.radians(start + 360 * k / n) for k in range(n)]
    return [(scale * radius * math.cos(angle), scale * radius * math.sin(angle)) for angle in angles]


def _star(radius: float) -> list[tuple[float, float]]:
    angles = [math.radians(-90 + 36 * k) for k in range(10)]
    reach = [radius * (1.5 if k % 2 == 0 else 0.7) for k in range(10)]
    return [(r * math.cos(angle), r * math.sin(angle)) for angle, r in zip(angles, reach, strict=True)]


def css() -> str:
    """Style sheet of the series colours: ``--c`` of whatever carries ``e0``, ``a0`` and so on."""

    def root(colours: tuple[str, ...], ink: str) -> str:
        return ":root{" + "".join(f"--c{i}:{c};" for i, c in enumerate(colours)) + f"--cink:{ink};}}"

    rules = [f".by-entry .e{i},.by-attack .a{i}{{--c:var(--c{i})}}" for i in range(len(LIGHT))]
    dark = f"@media screen and (prefers-color-scheme:dark){{{root(DARK, INK_DARK)}}}"
    return "\n".join([root(LIGHT, INK_LIGHT), dark, ".by-entry .eink{--c:var(--cink)}", *rules, ""])
