"""Figure 1: what a defense costs in accuracy against what still leaks, with interval bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import (
    Results,
    attack_names,
    baseline_position,
    main_slice,
    rate_at,
    rates,
    slice_names,
)
from membrane.report.frame import (
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Drawing,
    Ends,
    axes,
    canvas,
    entry_class,
    guides,
    horizontal,
    mark,
    shown,
    vertical,
    whiskers,
)
from membrane.report.placement import Spot, mark_box, name_box, spot_for
from membrane.report.svg import Scale, around, label, tag, tick_number, tick_percent, title

AREA = "auc"
MAX_NAMED = 12  # more names than this cannot be read; the legend has them all


@dataclass(frozen=True)
class Point:
    """One entry under one attack: places of its values and of their intervals' ends, as fractions or areas."""

    position: int
    attack: str
    strongest: bool
    leakage: Ends
    accuracy: Ends
    text: str


def measures(results: Results) -> list[tuple[str, str]]:
    """(key, name) of every measure of leakage that some attack has, the area first."""
    return [(AREA, "AUC"), *((f"{fpr:g}", f"TPR at {100 * fpr:g} % FPR") for fpr in rates(results))]


def frontier(results: Results) -> Drawing | None:
    """All points of all attacks, slices and measures; the page shows one slice and measure at a time.

    None if no entry has both an accuracy and a leakage.
    """
    first = (AREA, main_slice(results["entries"][0]))
    every = [(measure, name) for measure, _ in measures(results) for name in slice_names(results)]
    found = {pair: list(points(results, *pair)) for pair in every}
    if not any(found.values()):
        return None
    panels = [_panel(results, found[pair], *pair, visible=pair == first) for pair in every]
    summary = (
        "Test accuracy (upwards) against leakage (to the right) of each entry, with interval bars. Upper left is "
        "better. The numbers are in the table of every attack below."
    )
    return Drawing(canvas(*panels, kind="plot frontier by-entry", summary=summary), summary)


def points(results: Results, measure: str, slice_name: str) -> Iterator[Point]:
    """Every entry under every attack on one slice; entries without the number are left out."""
    for position, entry in enumerate(results["entries"]):
        part = entry["slices"].get(slice_name)
        test = _ends(entry["accuracy"]["test"])
        for name, attack in (part or {"attacks": {}})["attacks"].items():
            found = attack["auc"] if measure == AREA else rate_at(attack, float(measure)) or {}
            leakage = _ends(found)
            if part is None or test is None or leakage is None:
                continue
            text = _text(entry, fmt.method_name(name), measure, found)
            yield Point(position, name, name == part["strongest"], leakage, test, text)


def _ends(spread: Mapping[str, Any]) -> Ends | None:
    value, low, high = (spread.get(name) for name in ("value", "low", "high"))
    return None if value is None else (value if low is None else low, value, value if high is None else high)


def _text(entry: Results, attack: str, measure: str, found: Mapping[str, Any]) -> str:
    """Lines of the tooltip."""
    test, low, high = entry["accuracy"]["test"], found.get("low"), found.get("high")
    if measure == AREA:
        leak = f"AUC {fmt.area(found['value'])}  [{fmt.area_range(low, high) or 'no interval'}]"
    else:
        ends = fmt.percent_range(low, high, found["value"])
        leak = (
            f"TPR {fmt.percent(found['value'], low, high)}  [{ends or 'no interval'}] at {100 * float(measure):g} % FPR"
        )
    ends = fmt.percent_range(test.get("low"), test.get("high"), test["value"])
    return "\n".join(
        [
            entry["label"],
            f"{attack}: {leak}",
            f"test accuracy {fmt.percent(test['value'])}  [{ends}]  n = {fmt.count(test['n'])}",
        ]
    )


def ranges(found: list[Point], measure: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of the leakage and of the accuracy axis: all intervals, and the guess, inside."""
    guess = 0.5 if measure == AREA else float(measure)
    leakage = around([guess, *(end for point in found for end in point.leakage)], 0.06)
    accuracy = around([end for point in found for end in point.accuracy], 0.16)
    return leakage, accuracy


def _panel(results: Results, found: list[Point], measure: str, slice_name: str, *, visible: bool) -> str:
    drawn = _plotted(results, found, measure, slice_name) if found else _nothing()
    return tag("g", drawn, class_="panel" + shown(visible), data_measure=measure, data_slice=slice_name)


def _nothing() -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return label(middle, HEIGHT / 2, "not resolvable on this slice; the table says what is needed", "note", "middle")


def _plotted(results: Results, found: list[Point], measure: str, slice_name: str) -> str:
    leakage, accuracy = ranges(found, measure)
    x, y = horizontal(*leakage), vertical(*accuracy)
    guess = 0.5 if measure == AREA else float(measure)
    what = "AUC, 0.5 is guessing" if measure == AREA else f"TPR at {100 * guess:g} % FPR, {100 * guess:g} % is guessing"
    names = f"Leakage: {what}  ({slice_name})", "Test accuracy"
    written = tick_number if measure == AREA else tick_percent
    named = _places(results, found, x, y) if len(results["entries"]) <= MAX_NAMED else {}
    return tag(
        "g",
        axes(x, y, names, (written, tick_percent)),
        guides(x, y, guess, _levels(results)),
        *(_drawn(results, point, x, y, named.get((point.position, point.attack))) for point in found),
    )


def _levels(results: Results) -> list[float]:
    """Accuracy of the baseline, if others are to be compared with it."""
    base = baseline_position(results)
    value = None if base is None else results["entries"][base]["accuracy"]["test"]["value"]
    return [] if value is None or len(results["entries"]) == 1 else [value]


def _drawn(results: Results, point: Point, x: Scale, y: Scale, place: Spot | None) -> str:
    """Bars, mark and name of a point."""
    value, middle = point.leakage[1], point.accuracy[1]
    name = results["entries"][point.position]["label"]
    parts = [
        title(point.text),
        whiskers(point.leakage, point.accuracy, x, y),
        tag("circle", class_="hit", cx=x(value), cy=y(middle), r=15),
        mark(point.position, x(value), y(middle)),
    ]
    if place is not None:
        parts.append(label(place[0], place[1], name, "name", place[2]))
    return tag(
        "g",
        *parts,
        class_=f"point tip {entry_class(results, point.position)}" + shown(point.strongest),
        data_entry=str(point.position),
        data_attack=point.attack,
        data_strongest="1" if point.strongest else None,
    )


def _places(results: Results, found: list[Point], x: Scale, y: Scale) -> dict[tuple[int, str], Spot]:
    """Where each point's name fits, for (entry, attack): clear of the marks and names that show together with it."""
    places: dict[tuple[int, str], Spot] = {}
    for attack in [None, *attack_names(results)]:  # None: the strongest of each entry, which is what shows first
        together = [one for one in found if (one.strongest if attack is None else one.attack == attack)]
        taken = [mark_box(x(one.leakage[1]), y(one.accuracy[1])) for one in together]
        for one in together:
            key, name = (one.position, one.attack), results["entries"][one.position]["label"]
            places.setdefault(key, spot_for(x(one.leakage[1]), y(one.accuracy[1]), name, taken))
            taken.append(name_box(places[key], name))
    return places
