"""The same figures as PNG, for slides and reviews: drawn by matplotlib, without touching its global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from membrane.report.access import (
    CANARIES,
    Results,
    attack_names,
    baseline_position,
    main_slice,
    slice_names,
    strongest,
)
from membrane.report.frontier import AREA, Point, points
from membrane.report.numbers import method_name
from membrane.report.palette import INK_LIGHT, LIGHT, MATPLOTLIB, colour_index, shape
from membrane.report.roc import floor
from membrane.report.svg import tick_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_GREY = "#8d887f"


def pngs(results: Results) -> dict[str, bytes]:
    """PNG files by the end of their name: ``frontier``, ``roc``, and ``risk-map`` if an entry has one."""
    mapped = [entry for entry in results["entries"] if entry.get("risk_map")]
    drawn = {"frontier": _frontier(results), "roc": _roc(results)}
    if mapped:
        drawn["risk-map"] = _risk_map(results["title"], mapped[0])
    return {name: as_png(figure) for name, figure in drawn.items()}


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file, without the date and program that would make two of them differ."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a class name in a script that the font lacks
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def panels(title: str, count: int, height: float = 4.6) -> tuple[Figure, list[Axes]]:
    """A white figure under a title, with ``count`` quiet axes side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * count, height), layout="constrained", facecolor="white")
    grid = figure.subplots(1, count, squeeze=False)
    figure.suptitle(plain_text(title, 90), fontsize=13, fontweight="bold", x=0.01, ha="left")
    axes = list(grid[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color("#c9c4b9")
        one.grid(color="#e6e3dc", linewidth=0.7)
        one.set_axisbelow(True)
        one.tick_params(labelsize=9, color="#c9c4b9", labelcolor=INK_LIGHT, which="both")
    return figure, axes


def plain_text(text: str, longest: int = 40) -> str:
    """Text that matplotlib takes as it is: one short line, no mathematics, no leading underscore (hides a legend)."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    short = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return (" " if short.startswith("_") else "") + short.replace("$", r"\$")


def shared_legend(figure: Figure, one: Axes) -> None:
    """Names of what ``one`` shows, outside, where they hide nothing."""
    handles, names = one.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False)


def colour(position: int, baseline: int | None) -> str:
    """Of the entry or method at ``position``."""
    index = colour_index(position, baseline)
    return INK_LIGHT if index is None else LIGHT[index]


def _shown_slices(results: Results) -> list[str]:
    first = main_slice(results["entries"][0])
    return [first, *(name for name in slice_names(results) if name == CANARIES and name != first)]


def _frontier(results: Results) -> Figure:
    names = _shown_slices(results)
    figure, axes = panels(results["title"], len(names))
    for name, one in zip(names, axes, strict=True):
        for point in points(results, AREA, name):
            if point.strongest:
                _point(one, results, point)
        leakage_axes(one, name)
    shared_legend(figure, axes[0])
    return figure


def leakage_axes(one: Axes, slice_name: str) -> None:
    """Names of the axes of accuracy against leakage on one slice, and where guessing is."""
    one.axvline(0.5, color=_GREY, linestyle="--", linewidth=1)
    one.set_xlabel("Leakage: AUC of the strongest attack; 0.5 is guessing")
    one.set_ylabel("Test accuracy")
    one.set_title(plain_text(slice_name), fontsize=11, loc="left")
    _percent_axes(one.yaxis)


def _point(one: Axes, results: Results, point: Point) -> None:
    (low, value, high), (bottom, middle, top) = point.leakage, point.accuracy
    one.errorbar(
        [value],
        [middle],
        xerr=[[value - low], [high - value]],
        yerr=[[middle - bottom], [top - middle]],
        fmt=MATPLOTLIB[shape(point.position)],
        color=colour(point.position, baseline_position(results)),
        markersize=7,
        elinewidth=1.2,
        label=plain_text(results["entries"][point.position]["label"]),
    )


def _percent_axes(*axes: Axis) -> None:
    """Write the ticks of fractions in percent."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: tick_percent(value))


def _roc(results: Results) -> Figure:
    """The strongest attack of each entry; all attacks where there is one entry."""
    names = _shown_slices(results)
    figure, axes = panels(results["title"], len(names))
    for name, one in zip(names, axes, strict=True):
        for colour, text, curve in _curves(results, name):
            kept = [(fpr, tpr) for fpr, tpr in zip(curve["fpr"], curve["tpr"], strict=True) if fpr > 0 and tpr > 0]
            one.plot(
                [fpr for fpr, _ in kept], [tpr for _, tpr in kept], color=colour, linewidth=1.8, label=plain_text(text)
            )
        low = floor(results, name)
        one.plot([low, 1], [low, 1], color=_GREY, linestyle="--", linewidth=1)
        one.set(xscale="log", yscale="log", xlim=(low, 1), ylim=(low, 1))
        one.set_xlabel("False-positive rate: non-members accused")
        one.set_ylabel("True-positive rate: members caught")
        one.set_title(plain_text(name), fontsize=11, loc="left")
        _percent_axes(one.xaxis, one.yaxis)
    shared_legend(figure, axes[0])
    return figure


def _curves(results: Results, slice_name: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(colour, name, roc) of what one panel shows."""
    entries = results["entries"]
    if len(entries) == 1:
        part = entries[0]["slices"][slice_name]
        order = attack_names(results)
        attacks = [(name, part["attacks"][name]) for name in order if name in part["attacks"]]
        found = [(LIGHT[i % len(LIGHT)], method_name(name), one.get("roc")) for i, (name, one) in enumerate(attacks)]
    else:
        best = [strongest(entry, slice_name) for entry in entries]
        found = [
            (colour(i, baseline_position(results)), entries[i]["label"], one.get("roc"))
            for i, one in enumerate(best)
            if one is not None
        ]
    return [(drawn_in, name, curve) for drawn_in, name, curve in found if curve]


def _risk_map(title: str, entry: Results) -> Figure:
    regions = entry["risk_map"]["regions"]
    figure, axes = panels(f"{title}: {entry['label']}", 2, 1.8 + 0.42 * len(regions))
    for one, measure, unit, colour in (
        (axes[0], "leakage_drop", 1, LIGHT[1]),
        (axes[1], "accuracy_change", 100, LIGHT[0]),
    ):
        for row, region in enumerate(regions):
            _region(one, region, row, (measure, unit, colour))
        one.axvline(0, color=INK_LIGHT, linewidth=1)
        one.set_yticks(range(len(regions)), [plain_text(region["name"], 16) for region in regions])
        one.set_ylim(len(regions) - 0.5, -0.5)
    axes[0].set_xlabel("Leakage removed (AUC); grey band: membership permuted")
    axes[1].set_xlabel("Accuracy change (points); diamond: as many random channels")
    return figure


def _region(one: Axes, region: Results, row: int, drawn: tuple[str, float, str]) -> None:
    measure, unit, colour = drawn
    spread, null, control = (
        region[measure],
        region.get("null") or {},
        (region.get("random_channels") or {}).get(measure),
    )
    if measure == "leakage_drop" and None not in (null.get("low"), null.get("high")):
        one.barh(row, null["high"] - null["low"], left=null["low"], height=0.7, color="#e3dfd6")
    if control is not None:
        one.plot(unit * control, row, marker="D", color="white", markeredgecolor=_GREY, markersize=6)
    if spread["value"] is None:
        return
    if None not in (spread.get("low"), spread.get("high")):
        one.plot([unit * spread["low"], unit * spread["high"]], [row, row], color=colour, linewidth=1.6)
    one.plot(unit * spread["value"], row, marker="o", color=colour, markersize=7)
