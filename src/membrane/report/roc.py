"""Figure 2: the ROC of every attack, slice and entry, logarithmic or linear, with the measured rates on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import Results, attack_names, main_slice, slice_names
from membrane.report.frame import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Drawing,
    axes,
    canvas,
    entry_class,
    horizontal,
    mark,
    shown,
    vertical,
)
from membrane.report.palette import LIGHT
from membrane.report.svg import Scale, label, line, tag, tick_percent, title

MIN_ACCUSED = 10
"""Non-members behind a false-positive rate from which on the curve is worth reading."""


def roc(results: Results) -> Drawing | None:
    """Curves of every entry, slice and attack on both scales; the page shows some of them. None if none is there."""
    names = [name for name in slice_names(results) if any(_curves(results, name))]
    if not names:
        return None
    drawn = [_panel(results, name, log) for name in names for log in (True, False)]
    summary = (
        "Share of members caught (upwards) against share of non-members accused (to the right). The dashed line is "
        "guessing; above it members are recognized. The measured rates are in the table of every attack."
    )
    colours = "by-entry" if len(results["entries"]) > 1 else "by-attack"
    return Drawing(canvas(*drawn, kind=f"plot roc {colours}", summary=summary), summary)


def floor(results: Results, slice_name: str) -> float:
    """Lower end of a slice's logarithmic axes: the decade that holds one non-member, 1e-5 to 1e-2."""
    most = max(_sizes(results, slice_name))
    return float(10.0 ** min(-2, max(-5, math.floor(math.log10(1 / max(most, 10)) + 1e-9))))


def _sizes(results: Results, slice_name: str) -> list[int]:
    return [
        entry["slices"][slice_name]["n_non_members"] for entry in results["entries"] if slice_name in entry["slices"]
    ]


def _curves(results: Results, slice_name: str) -> Iterator[tuple[int, str, bool, Any]]:
    """(entry, attack, whether it is the strongest, the attack's part) wherever a slice has a curve."""
    for position, entry in enumerate(results["entries"]):
        part = entry["slices"].get(slice_name) or {"attacks": {}}
        for name, attack in part["attacks"].items():
            if (attack.get("roc") or {}).get("fpr"):
                yield position, name, name == part["strongest"], attack


def _panel(results: Results, slice_name: str, log: bool) -> str:
    low = floor(results, slice_name) if log else 0.0
    x, y = horizontal(low, 1, log), vertical(low, 1, log)
    names = f"False-positive rate: non-members accused  ({slice_name})", "True-positive rate: members caught"
    order = attack_names(results)
    return tag(
        "g",
        axes(x, y, names, (tick_percent, tick_percent)),
        _unresolved(min(_sizes(results, slice_name)), x),
        _diagonal(x, y),
        *(_curve(results, one, x, y, order) for one in _curves(results, slice_name)),
        class_="panel" + shown(log and slice_name == main_slice(results["entries"][0])),
        data_slice=slice_name,
        data_scale="log" if log else "linear",
        data_low=f"{low:g}",
        data_frame=f"{LEFT:g} {TOP:g} {WIDTH - RIGHT:g} {HEIGHT - BOTTOM:g}",
    )


def _diagonal(x: Scale, y: Scale) -> str:
    return tag(
        "g",
        line(x(x.low), y(y.low), x(1), y(1), "guess"),
        label(x(1) - 8, y(1) + 64 if x.log else y(0.86), "guessing", "note", "end"),
    )


def _unresolved(n_non_members: int, x: Scale) -> str:
    """Shade where the accused non-members can be counted on the fingers."""
    room = x(min(1.0, MIN_ACCUSED / max(1, n_non_members))) - LEFT
    if room < 1:
        return ""
    return tag(
        "g",
        tag("rect", class_="unresolved", x=LEFT, y=TOP, width=room, height=HEIGHT - BOTTOM - TOP),
        label(LEFT + room - 8, HEIGHT - BOTTOM - 10, f"fewer than {MIN_ACCUSED} accused", "note", "end")
        if room > 130
        else "",
    )


def _curve(results: Results, one: tuple[int, str, bool, Any], x: Scale, y: Scale, order: list[str]) -> str:
    position, name, best, attack = one
    alone = len(results["entries"]) == 1
    rank = order.index(name)
    path = _path(zip(attack["roc"]["fpr"], attack["roc"]["tpr"], strict=True), x, y)
    label_ = results["entries"][position]["label"]
    return tag(
        "g",
        tag("path", class_="curve", d=path),
        *_measured(attack, (label_, fmt.method_name(name)), (rank if alone else position), (x, y)),
        class_=f"series {entry_class(results, position)} a{rank % len(LIGHT)}" + shown(alone or best),
        data_entry=str(position),
        data_attack=name,
        data_strongest="1" if best else None,
        data_entry_name=label_,
        data_attack_name=fmt.method_name(name),
    )


def _path(pairs: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Path through the points that differ by what an eye can see; on logarithmic axes from the first accusation on."""
    kept: list[tuple[float, float]] = []
    last = (0.0, 0.0)
    for fpr, tpr in pairs:
        if x.log and fpr < x.low:
            continue
        last = (x(fpr), y(tpr))
        if not kept or abs(last[0] - kept[-1][0]) + abs(last[1] - kept[-1][1]) >= 2.0:
            kept.append(last)
    if kept and kept[-1] != last:
        kept.append(last)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in kept) if kept else "M0 0"


def _measured(attack: Results, names: tuple[str, str], position: int, scales: tuple[Scale, Scale]) -> Iterator[str]:
    """The rates of the tables as marks with their intervals on the curve."""
    x, y = scales
    for rate in attack.get("tpr") or ():
        if rate.get("refused") or rate["value"] is None:
            continue
        ends = fmt.percent_range(rate.get("low"), rate.get("high"), rate["value"]) or "no interval"
        text = "\n".join(
            [
                names[0],
                f"{names[1]}: TPR {fmt.percent(rate['value'])}  [{ends}] at {tick_percent(rate['fpr'])} FPR",
                f"{fmt.count(rate.get('successes'))} of {fmt.count(rate['n'])} members",
            ]
        )
        at, low, high = x(rate["fpr"]), rate.get("low"), rate.get("high")
        bar = "" if low is None or high is None else line(at, y(low), at, y(high), "whisker")
        yield tag("g", title(text), bar, mark(position, at, y(rate["value"]), 4.5), class_="tip rate")
