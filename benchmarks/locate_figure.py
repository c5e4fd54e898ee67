"""Table and figure of ``locate.py``, from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FLAT = 0.05  # p-value above which a map is flat


def table(results: Mapping[str, Any], maps: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: rates by estimator, where each sees the risk, how far they agree."""
    return "\n\n".join([_rates(results), _where(maps), _agreement(results["agreement"])]) + "\n"


def _rates(results: Mapping[str, Any]) -> str:
    columns = {
        "planted memory found": results["found"],
        "its region first, chance or not": results["first"],
        "permuted membership flat": results["flat"],
    }
    lines = [f"| estimator | networks | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for column, rates in columns.items():
        for rate in rates:
            text = f"{rate['value']:.2f} ({rate['low']:.2f} to {rate['high']:.2f}), n = {rate['n']}"
            cells.setdefault((rate["estimator"], rate["network"]), {})[column] = text
    for (estimator, network), one in sorted(cells.items(), key=lambda item: item[0][1] != "all"):
        lines.append(f"| {estimator} | {network} | {' | '.join(one.get(column, '') for column in columns)} |")
    return "\n".join(lines)


def kinds(maps: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """Networks, without and with augmentation, in the order in which they were measured."""
    return list(dict.fromkeys((one["network"], one["augment"]) for one in maps))


def chosen(maps: Sequence[Mapping[str, Any]], kind: tuple[str, bool], estimator: str) -> list[Mapping[str, Any]]:
    """Maps of one kind of network by one estimator."""
    return [m for m in maps if (m["network"], m["augment"]) == kind and m["estimator"] == estimator]


def estimators(maps: Sequence[Mapping[str, Any]]) -> list[str]:
    """In the order of the catalogue."""
    return list(dict.fromkeys(one["estimator"] for one in maps))


def _where(maps: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| network | augmented | AUC | accuracy | estimator | riskiest region (networks) | flat maps | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds(maps):
        for estimator in estimators(maps):
            found = chosen(maps, kind, estimator)
            if not found:
                continue
            best = [max(one["regions"], key=lambda r: r["risk"][1])["name"] for one in found if one["p_value"] <= FLAT]
            counted = ", ".join(f"{name} ({best.count(name)})" for name in sorted(set(best), key=best.count)[::-1])
            means = {key: float(np.mean([one[key] for one in found])) for key in ("leakage", "accuracy", "seconds")}
            cells = [
                kind[0],
                "yes" if kind[1] else "no",
                f"{means['leakage']:.3f}",
                f"{means['accuracy']:.3f}",
                estimator,
                counted or "none",
                f"{len(found) - len(best)} of {len(found)}",
                f"{means['seconds']:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _agreement(pairs: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| estimator | estimator | mean rank correlation over networks |", "|---|---|---|"]
    for one in pairs:
        ends = f"({one['low']:+.2f} to {one['high']:+.2f}), n = {one['n']}"
        lines.append(f"| {one['first']} | {one['second']} | {one['value']:+.2f} {ends} |")
    return "\n".join(lines)


def figure(results: Mapping[str, Any], maps: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Above, where each estimator sees the risk; below, whether it can be trusted and how far they agree."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    fig = plt.figure(figsize=(17, 10.5), layout="constrained")
    above, below = fig.subfigures(2, 1, height_ratios=[1.25, 1])
    above.suptitle("Where risk lives: scores of a map over its largest, mean over seeds; hatched: most maps are flat")
    for axes, kind in zip(above.subplots(2, (len(kinds(maps)) + 1) // 2).flat, kinds(maps), strict=False):
        _heat(axes, maps, kind)
    for axes in above.axes[len(kinds(maps)) :]:
        axes.set_axis_off()
    left, right = below.subplots(1, 2)
    _bars(left, results)
    _matrix(right, results["agreement"], estimators(maps))
    fig.savefig(path, dpi=110)
    plt.close(fig)


def _heat(axes: Any, maps: Sequence[Mapping[str, Any]], kind: tuple[str, bool]) -> None:  # noqa: ANN401
    names = estimators(maps)
    regions = [region["name"] for region in chosen(maps, kind, "mix_response")[0]["regions"]]
    grid = np.full((len(names), len(regions)), np.nan)
    for row, name in enumerate(names):
        found = chosen(maps, kind, name)
        if found:
            scores = np.array([[max(region["risk"][1], 0.0) for region in one["regions"]] for one in found])
            grid[row] = (scores / np.maximum(scores.max(1, keepdims=True), 1e-12)).mean(0)
            if np.mean([one["p_value"] > FLAT for one in found]) > 0.5:
                axes.add_patch(_hatch(row, len(regions)))
    axes.imshow(grid, cmap="OrRd", vmin=0, vmax=1, aspect="auto")
    axes.set_title(f"{kind[0]}{', flip + crop' if kind[1] else ''}", fontsize=9)
    axes.set_xticks(range(len(regions)), regions, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)


def _hatch(row: int, width: int) -> Any:  # noqa: ANN401
    from matplotlib.patches import Rectangle

    return Rectangle((-0.5, row - 0.5), width, 1, fill=False, hatch="////", edgecolor="#888888", linewidth=0)


def _bars(axes: Any, results: Mapping[str, Any]) -> None:  # noqa: ANN401
    labels: list[str] = []
    for shift, (what, colour) in enumerate((("found", "#b3372f"), ("flat", "#3a6ea5"))):
        rates = [rate for rate in results[what] if rate["network"] == "all"]
        labels = [rate["estimator"] for rate in rates]
        at = np.arange(len(rates)) + 0.36 * shift - 0.18
        values = np.array([rate["value"] for rate in rates])
        ends = np.array([[rate["value"] - rate["low"], rate["high"] - rate["value"]] for rate in rates]).T
        words = {"found": "planted memory found", "flat": "permuted membership flat"}[what]
        axes.barh(at, values, 0.34, xerr=ends, color=colour, label=f"{words}, n = {rates[0]['n']}", capsize=2)
    axes.axvline(0.9, color="#b3372f", linestyle=":")
    axes.axvline(0.95, color="#3a6ea5", linestyle=":")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1.02), xlabel="share of networks; dotted: what is asked", title="Is it right where the truth is known?"
    )
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _matrix(axes: Any, pairs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:  # noqa: ANN401
    grid = np.full((len(names), len(names)), np.nan)
    for one in pairs:
        row, column = names.index(one["second"]), names.index(one["first"])
        grid[row, column] = one["value"]
        text = f"{one['value']:+.2f}\n{one['low']:+.2f}…{one['high']:+.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    axes.imshow(grid, cmap="RdYlBu", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names) - 1), names[:-1], rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(1, len(names)), names[1:], fontsize=8)
    axes.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5))
    axes.set_title("Agreement: rank correlation of regions, mean over networks that leak")
