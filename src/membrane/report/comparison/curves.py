"""Figure of one setting: test accuracy against leakage, a curve for each method, interval bars on every point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import Results
from membrane.report.comparison.words import guess_of, measure_name, recipe_text, value_text
from membrane.report.frame import Drawing, Ends, axes, canvas, guides, horizontal, mark, shown, vertical, whiskers
from membrane.report.palette import colour_index
from membrane.report.svg import Scale, around, tag, tick_number, tick_percent, title


@dataclass(frozen=True)
class Point:
    """One strength: low end, value and high end of leakage and accuracy.

    Args:
        method: Place of its method in the list.
        leakage: In the measure's unit.
        accuracy: A fraction.
        text: Lines of the tooltip.
    """

    method: int
    leakage: Ends
    accuracy: Ends
    text: str


def curve_class(position: int) -> str:
    """What gives a method's curve its colour; the baseline, which is the first, wears ink."""
    index = colour_index(position, 0)
    return "eink" if index is None else f"e{index}"


def asked(setting: Results) -> list[tuple[str, str]]:
    """(slice, measure) of every panel."""
    return list(
        dict.fromkeys(
            (part, measure)
            for point in setting["points"]
            for part, found in point["leakage"].items()
            for measure in found
        )
    )


def points_in(results: Results, setting: Results, part: str, measure: str) -> list[Point]:
    """All points of one panel; those without the number are left out."""
    found = []
    for one in setting["points"]:
        leak = one["leakage"].get(part, {}).get(measure)
        if leak is not None:
            found.append(
                Point(
                    results["methods"].index(one["method"]),
                    _ends(leak),
                    _ends(one["accuracy"]),
                    _text(one, part, measure, leak),
                )
            )
    return found


def _ends(value: Mapping[str, Any]) -> Ends:
    middle, low, high = value["value"], value.get("low"), value.get("high")
    return middle if low is None else low, middle, middle if high is None else high


def _text(point: Results, part: str, measure: str, leak: Mapping[str, Any]) -> str:
    low, high, test = leak.get("low"), leak.get("high"), point["accuracy"]
    ends = fmt.area_range(low, high) if measure == "auc" else fmt.percent_range(low, high, leak["value"])
    attacks = ", ".join(fmt.method_name(name) for name in leak["attacks"])
    reach = fmt.percent_range(test.get("low"), test.get("high"), test["value"])
    return "\n".join(
        [
            f"{point['method']} {point['strength']}".strip(),
            *([f"recipe: {recipe_text(point)}"] if recipe_text(point) else []),
            f"{part}, {measure_name(measure)}: {value_text(measure, leak['value'])} [{ends or 'no interval'}]",
            f"strongest: {attacks}",
            f"test accuracy {fmt.percent(test['value'])} [{reach or 'no interval'}]",
        ]
    )


def curves(results: Results, setting: Results) -> Drawing:
    """All panels; the page shows one slice and measure at a time."""
    panels = [
        _panel(points_in(results, setting, part, measure), part, measure, visible=i == 0)
        for i, (part, measure) in enumerate(asked(setting))
    ]
    summary = (
        f"{setting['name']}: test accuracy (upwards) against leakage (to the right), a curve for each method, with "
        "interval bars. Upper left is better. The numbers are in the tables below."
    )
    return Drawing(canvas(*panels, kind="plot frontier by-entry", summary=summary), summary)


def _panel(found: list[Point], part: str, measure: str, *, visible: bool) -> str:
    guess = guess_of(measure)
    x = horizontal(*around([guess, *(end for point in found for end in point.leakage)], 0.05))
    y = vertical(*around([end for point in found for end in point.accuracy], 0.08))
    names = f"Leakage: {measure_name(measure)} of the strongest attack ({part})", "Test accuracy"
    written = tick_number if measure == "auc" else tick_percent
    methods = list(dict.fromkeys(point.method for point in found))
    return tag(
        "g",
        axes(x, y, names, (written, tick_percent)),
        guides(x, y, guess, [point.accuracy[1] for point in found if point.method == 0]),
        *(_curve([point for point in found if point.method == method], method, x, y) for method in methods),
        class_="panel" + shown(visible),
        data_measure=measure,
        data_slice=part,
    )


def _curve(found: list[Point], method: int, x: Scale, y: Scale) -> str:
    """A method's points, joined in the order of their leakage."""
    ordered = sorted(found, key=lambda point: point.leakage[1])
    path = "M" + "L".join(f"{x(point.leakage[1]):.1f} {y(point.accuracy[1]):.1f}" for point in ordered)
    joined = tag("path", class_="curve thin", d=path) if len(ordered) > 1 else ""
    return tag(
        "g",
        joined,
        *(_mark(point, x, y) for point in ordered),
        class_=f"series {curve_class(method)}",
        data_entry=str(method),
        data_attack="all",
        data_strongest="1",
    )


def _mark(point: Point, x: Scale, y: Scale) -> str:
    value, middle = point.leakage[1], point.accuracy[1]
    return tag(
        "g",
        title(point.text),
        whiskers(point.leakage, point.accuracy, x, y),
        tag("circle", class_="hit", cx=x(value), cy=y(middle), r=12),
        mark(point.method, x(value), y(middle), 5.0),
        class_="point tip",
    )
