"""A hundred pairs of a member and a non-member: as many dots as the strongest attack ranks rightly."""

from __future__ import annotations

from membrane.report import numbers as fmt
from membrane.report.access import Results, main_slice, strongest
from membrane.report.frame import Drawing, canvas, entry_class
from membrane.report.svg import tag

MOST = 8
_STEP = 11.0


def dots(results: Results) -> list[tuple[str, str, Drawing]]:
    """(name, value in words, drawing) of the first entries, or of the slices where there is one entry."""
    entries = results["entries"]
    if len(entries) == 1:
        chosen = [(0, name, name) for name in entries[0]["slices"]]
    else:
        chosen = [(i, entry["label"], main_slice(entry)) for i, entry in enumerate(entries)]
    found = []
    for position, name, slice_name in chosen[:MOST]:
        best = strongest(entries[position], slice_name)
        value = best["auc"]["value"] if best else None
        if value is not None:
            filled = round(100 * value) if value >= 1 else min(99, round(100 * value))  # 100 would claim certainty
            drawing = _drawing(filled, entry_class(results, position), name, fmt.percent(value))
            found.append((name, fmt.percent(value), drawing))
    return found


def _drawing(filled: int, class_: str, name: str, value: str) -> Drawing:
    circles = [
        tag(
            "circle",
            class_="guessed" if i < min(50, filled) else "caught" if i < filled else "missed",
            cx=_STEP * (i % 10 + 0.5),
            cy=_STEP * (9.5 - i // 10),
            r=3.7,
        )
        for i in range(100)
    ]
    summary = f"{name}: {value} of pairs ranked rightly"
    size = 10 * _STEP
    return Drawing(
        canvas(tag("g", *circles, class_=class_), kind="dots by-entry", summary=summary, width=size, height=size),
        summary,
    )
