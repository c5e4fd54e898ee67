"""The released plan as a picture: for each region, the epochs whose mean is released."""

from __future__ import annotations

from membrane.report import numbers as fmt
from membrane.report.access import Results
from membrane.report.frame import Drawing, canvas
from membrane.report.svg import Scale, label, line, tag, title

WIDTH, LEFT, TOP, BOTTOM, ROW = 640.0, 118.0, 10.0, 58.0, 38.0
EPOCHS_END, FINAL = 530.0, 586.0


def plan_figure(entry: Results) -> Drawing | None:
    """One row for each region, in the order in which they run where a risk map tells it; None without a plan."""
    plan = entry.get("plan")
    if not plan or not plan["stretches"]:
        return None
    stretches = {stretch["region"]: stretch for stretch in plan["stretches"]}
    mapped = [region["name"] for region in (entry.get("risk_map") or {}).get("regions", ())]
    names = list(dict.fromkeys([*mapped, *stretches]))
    last = max(stretch["last"] for stretch in stretches.values())
    x = Scale(0, last + 1, LEFT, EPOCHS_END)
    height = TOP + BOTTOM + ROW * len(names)
    parts = [_axis(x, last, height), *(_row(name, row, stretches.get(name), x) for row, name in enumerate(names))]
    summary = "Released weights: " + "; ".join(_words(name, stretches.get(name)) for name in names) + "."
    return Drawing(canvas(*parts, kind="plot plan", summary=summary, width=WIDTH, height=height), summary)


def _words(name: str, stretch: Results | None) -> str:
    if stretch is None:
        return f"{name}: final weights"
    first, last, keep = stretch["first"], stretch["last"], stretch["keep"]
    mean = f"epoch {first}" if first == last else f"mean of epochs {first}–{last}"
    return f"{name}: {mean}" if not keep else f"{name}: {fmt.percent(1 - keep)} {mean}, {fmt.percent(keep)} final"


def _axis(x: Scale, last: int, height: float) -> str:
    bottom = height - BOTTOM
    step = max(1, -(-(last + 1) // 8))
    parts = [line(x(epoch), TOP, x(epoch), bottom, "grid") for epoch in range(0, last + 2, step)]
    parts += [label(x(e + 0.5), bottom + 22, f"{e}", "tick", "middle") for e in range(0, last + 1, step)]
    parts += [
        label((LEFT + EPOCHS_END) / 2, height - 10, "Epoch, counted from 0", "axis", "middle"),
        line(FINAL, TOP, FINAL, bottom, "grid"),
        label(FINAL, bottom + 22, "final", "tick", "middle"),
    ]
    return tag("g", *parts, class_="axes")


def _row(name: str, row: int, stretch: Results | None, x: Scale) -> str:
    y = TOP + ROW * (row + 0.5)
    short = name if len(name) <= 12 else name[:11] + "…"
    parts = [title(_words(name, stretch)), label(LEFT - 14, y + 4, short, "region", "end")]
    parts.append(line(LEFT, y, FINAL, y, "rail"))
    keep = 1.0 if stretch is None else stretch["keep"]
    if stretch is not None:
        left, right = x(stretch["first"]), x(stretch["last"] + 1)
        parts.append(tag("rect", class_="stretch", x=left, y=y - 10, width=max(4.0, right - left), height=20, rx=5))
    if keep > 0:
        parts.append(tag("circle", class_="final", cx=FINAL, cy=y, r=2 + 6 * keep**0.5))
    return tag("g", *parts, class_="tip")
