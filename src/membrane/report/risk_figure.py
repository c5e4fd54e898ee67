"""Figure 3: the risk map of regions, three panels that stand side by side or one below the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import Results
from membrane.report.frame import Drawing, canvas
from membrane.report.palette import outline
from membrane.report.svg import Scale, around, label, line, tag, tick_number, title

WIDTH, LEFT, RIGHT, TOP, BOTTOM, ROW = 380.0, 96.0, 18.0, 34.0, 44.0, 34.0
_LETTERS = 12


def risk_panels(risk_map: Results) -> list[Drawing]:
    """Leakage removed, accuracy changed, and the sizes that could explain both."""
    return [
        _changes(risk_map, "leakage_drop", "Leakage removed (AUC)", 1.0),
        _changes(risk_map, "accuracy_change", "Accuracy change (points)", 100.0),
        _sizes(risk_map),
    ]


def heat(risk_map: Results) -> list[tuple[str, int, str]]:
    """(region, 0 to 10, leakage removed in words): how strongly each box of the network strip is filled."""
    drops = [region["leakage_drop"]["value"] or 0.0 for region in risk_map["regions"]]
    most = max([*drops, 1e-9])
    return [
        (region["name"], round(10 * max(0.0, drop) / most), fmt.signed(-drop) if drop else fmt.NONE)
        for region, drop in zip(risk_map["regions"], drops, strict=True)
    ]


def _height(risk_map: Results) -> float:
    return TOP + BOTTOM + ROW * len(risk_map["regions"])


def _middle(row: int) -> float:
    return TOP + ROW * (row + 0.5)


def _changes(risk_map: Results, measure: str, name: str, unit: float) -> Drawing:
    """Dot, interval bar, null band and random-channel control of each region."""
    regions = risk_map["regions"]
    ends = [0.0]
    for region in regions:
        ends += _finite(region[measure], unit) + _finite(
            region.get("null") or {}, unit if measure == "leakage_drop" else 0
        )
        control = (region.get("random_channels") or {}).get(measure)
        ends += [] if control is None else [unit * control]
    x = Scale(*around(ends, 0.07, 0.01 * unit), LEFT, WIDTH - RIGHT)
    height = _height(risk_map)
    parts = [label(LEFT, 18, name, "panel-name"), _grid(x, height)]
    parts += [_row(region, row, measure, unit, x) for row, region in enumerate(regions)]
    summary = f"{name} for each region, with intervals; the numbers are in the table below."
    kind = f"plot risk {measure.replace('_', '-')}"
    return Drawing(canvas(*parts, kind=kind, summary=summary, width=WIDTH, height=height), summary)


def _finite(spread: Mapping[str, Any], unit: float) -> list[float]:
    return [unit * spread[end] for end in ("low", "value", "high") if spread.get(end) is not None]


def _grid(x: Scale, height: float) -> str:
    bottom = height - BOTTOM
    parts = [line(x(tick), TOP, x(tick), bottom, "grid") for tick in x.ticks(4)]
    parts += [label(x(tick), bottom + 18, tick_number(tick), "tick", "middle") for tick in x.ticks(4)]
    parts.append(line(x(0), TOP, x(0), bottom, "zero"))
    return tag("g", *parts)


def _name(region: Results, row: int) -> str:
    name, flags = region["name"], region.get("flags") or ()
    short = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
    return tag(
        "g",
        title("\n".join([name, *flags])),
        label(LEFT - 12, _middle(row) + 4, ("⚑ " if flags else "") + short, "region", "end"),
        class_="tip",
    )


def _row(region: Results, row: int, measure: str, unit: float, x: Scale) -> str:
    y, parts = _middle(row), [_name(region, row)]
    null, control = region.get("null"), (region.get("random_channels") or {}).get(measure)
    if measure == "leakage_drop" and null and None not in (null.get("low"), null.get("high")):
        band = {"x": x(null["low"]), "width": max(2.0, x(null["high"]) - x(null["low"]))}
        parts.append(tag("rect", class_="null", y=y - 12, height=24, **band))
    spread = region[measure]
    marks = [title(_text(region, measure))]
    if control is not None:
        marks.append(tag("path", class_="control", d=outline("diamond", x(unit * control), y, 5)))
    if spread["value"] is not None:
        if None not in (spread.get("low"), spread.get("high")):
            marks.append(line(x(unit * spread["low"]), y, x(unit * spread["high"]), y, "whisker"))
        marks.append(tag("path", class_="mark", d=outline("circle", x(unit * spread["value"]), y, 6)))
    parts.append(tag("g", *marks, class_="tip point"))
    return tag("g", *parts)


def _text(region: Results, measure: str) -> str:
    """Lines of the tooltip."""
    spread, control = region[measure], (region.get("random_channels") or {}).get(measure)
    if measure == "leakage_drop":
        ends = fmt.signed_range(spread.get("low"), spread.get("high"))
        lines = [region["name"], f"leakage removed {fmt.signed(spread['value'])} AUC  [{ends or 'no interval'}]"]
        null = region.get("null")
        lines += [f"null band {fmt.signed_range(null.get('low'), null.get('high'))}"] if null else []
        return "\n".join([*lines, *([] if control is None else [f"as many random channels: {fmt.signed(control)}"])])
    ends = fmt.points_range(spread.get("low"), spread.get("high"))
    lines = [region["name"], f"accuracy change {fmt.points(spread['value'])} points  [{ends or 'no interval'}]"]
    return "\n".join([*lines, *([] if control is None else [f"as many random channels: {fmt.points(control)} points"])])


def _sizes(risk_map: Results) -> Drawing:
    """Share of parameters and displacement as two thin bars for each region."""
    regions, height = risk_map["regions"], _height(risk_map)
    share = Scale(0, max([*(region["share"] or 0 for region in regions), 1e-9]), 0, 190)
    far = Scale(0, max([*(region["displacement"] or 0 for region in regions), 1e-9]), 0, 190)
    parts = [label(LEFT, 18, "Size and displacement", "panel-name")]
    for row, region in enumerate(regions):
        y, moved = _middle(row), region["displacement"]
        parts += [
            _name(region, row),
            tag("rect", class_="bar share", x=LEFT, y=y - 11, width=share(region["share"] or 0), height=9, rx=2),
            label(LEFT + share(region["share"] or 0) + 6, y - 2, fmt.percent(region["share"]), "small"),
            tag("rect", class_="bar far", x=LEFT, y=y + 2, width=far(moved or 0), height=9, rx=2),
            label(LEFT + far(moved or 0) + 6, y + 11, fmt.NONE if moved is None else f"{moved:.3g}", "small"),
        ]
    bottom = height - BOTTOM + 18
    parts += [
        tag("rect", class_="bar share", x=LEFT, y=bottom - 8, width=14, height=8, rx=2),
        label(LEFT + 19, bottom, "share of parameters", "small"),
        tag("rect", class_="bar far", x=LEFT + 136, y=bottom - 8, width=14, height=8, rx=2),
        label(LEFT + 155, bottom, "displacement", "small"),
    ]
    summary = "Share of the parameters and distance moved since the early window, for each region."
    return Drawing(canvas(*parts, kind="plot risk sizes", summary=summary, width=WIDTH, height=height), summary)
