"""From cells to what a reader wants: each method's curve, and all methods at equal accuracy, with paired intervals.

Accuracy counts as the difference from the baseline's, resample by resample, so that what both share cancels. What a
method offers at some loss of accuracy is a point of its measured frontier; its leakage and its accuracy each have an
interval. Several seeds are averaged, their resamples too: splits and models of different seeds are independent,
examples may recur.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.core.errors import NotEnoughDataError
from membrane.metrics import CurvePoint, percentile_interval, point_at
from membrane.report.comparison.words import guess_of
from membrane.verbs.measure import LEVEL, plain_interval

LOSSES = (0.0, 0.01, 0.02, 0.05)
"""Accuracy below the baseline's at which methods are compared, fractions."""
Row = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Point:
    """One strength of one method in one setting, over all its seeds.

    Args:
        method: Label.
        strength: In words.
        rows: The cells, by seed.
    """

    method: str
    strength: str
    rows: Mapping[int, Row]

    @property
    def recipe(self) -> Row:
        """What was other than in the setting's recipe, by name; the same under all seeds."""
        return next(iter(self.rows.values())).get("recipe") or {}

    @property
    def accuracy(self) -> float:
        """Mean over seeds, of the test set."""
        return float(np.mean([row["accuracy"]["test"]["value"] for row in self.rows.values()]))

    @property
    def accuracy_replicates(self) -> Floats:
        """(B,) mean over seeds."""
        return _mean([row["accuracy_replicates"] for row in self.rows.values()])

    def leakage(self, part: str, measure: str) -> float | None:
        """Mean over seeds of the strongest attack's; None if one of them cannot resolve it."""
        found = [row["leakage"].get(part, {}).get(measure) for row in self.rows.values()]
        return None if None in found else float(np.mean([one["value"] for one in found]))

    def leakage_replicates(self, part: str, measure: str) -> Floats:
        """(B,) mean over seeds, of what all of them can resolve."""
        return _mean([row["leakage"][part][measure]["replicates"] for row in self.rows.values()])

    def under(self, seeds: Sequence[int]) -> Point:
        """The same over some of its seeds."""
        return dataclasses.replace(self, rows={seed: self.rows[seed] for seed in seeds})

    @property
    def n_pairs(self) -> int:
        """Complementary pairs of models, over all seeds."""
        return sum(int(row["task"]["n_models"]) // 2 for row in self.rows.values())


def _mean(replicates: Sequence[Sequence[float | None]]) -> Floats:
    found: Floats = np.mean(np.array(replicates, dtype=np.float64), axis=0)
    return found


def points_of(cells: Sequence[Row], setting: str) -> list[Point]:
    """Points of one setting, in the order of the cells; what failed is left out."""
    rows: dict[tuple[str, str], dict[int, Row]] = {}
    for cell in cells:
        if cell["setting"] == setting and "failed" not in cell:
            rows.setdefault((cell["method"], cell["strength"]), {})[cell["seed"]] = cell
    return [Point(*key, found) for key, found in rows.items()]


def describe_point(point: Point, baseline: Point | None) -> dict[str, Any]:
    """JSON-ready: accuracy and leakage with intervals, cost, what was chosen."""
    seeds = sorted(point.rows)
    parts = sorted(
        {part for row in point.rows.values() for part in row["leakage"]}, key=lambda name: name != "population"
    )
    leakage = {}
    for part in parts:
        measures = dict.fromkeys(m for row in point.rows.values() for m in row["leakage"].get(part, {}))
        leakage[part] = {m: _spread(point, part, m) for m in measures if point.leakage(part, m) is not None}
    return {
        "method": point.method,
        "strength": point.strength,
        **({"recipe": point.recipe} if point.recipe else {}),
        "seeds": seeds,
        "n_pairs": point.n_pairs,
        "accuracy": _accuracy(point),
        "train_accuracy": float(np.mean([row["accuracy"]["train"]["value"] for row in point.rows.values()])),
        "leakage": leakage,
        "cost": _cost(point, baseline),
    }


def _accuracy(point: Point) -> dict[str, Any]:
    if len(point.rows) == 1:
        (row,) = point.rows.values()
        return dict(row["accuracy"]["test"])
    return plain_interval(percentile_interval(point.accuracy, point.accuracy_replicates, LEVEL, point.n_pairs))


def _spread(point: Point, part: str, measure: str) -> dict[str, Any]:
    """Value and interval: of one seed that of its audit, of several that of the averaged resamples."""
    attacks = list(dict.fromkeys(row["leakage"][part][measure]["attack"] for row in point.rows.values()))
    if len(point.rows) == 1:
        (row,) = point.rows.values()
        attack = row["slices"][part]["attacks"][attacks[0]]
        rates = {f"tpr@{one['fpr']:g}": one for one in attack["tpr"]}
        return dict(attack["auc"] if measure == "auc" else rates[measure]) | {"attacks": attacks}
    value = point.leakage(part, measure)
    assert value is not None  # or it would not be described
    interval = percentile_interval(value, point.leakage_replicates(part, measure), LEVEL, point.n_pairs)
    return plain_interval(interval) | {"attacks": attacks}


def _cost(point: Point, baseline: Point | None) -> float | None:
    """Seconds of training and finishing over the baseline's, on the seeds that both have; the least of each seed."""
    if baseline is None:
        return None
    seeds = [seed for seed in point.rows if seed in baseline.rows]
    mine, its = (
        [one.rows[seed]["costs"]["train"] + one.rows[seed]["costs"]["finish"] for seed in seeds]
        for one in (point, baseline)
    )
    return min(mine) / min(its) if seeds and min(its) > 0 else None


def matched(points: Sequence[Point], baseline: str) -> list[dict[str, Any]]:
    """All methods at every loss of accuracy: least leakage reached, and how far each is from the one that leaks least.

    Only seeds that every point has are compared, so that all differences are paired.
    """
    base = next((point for point in points if point.method == baseline), None)
    if base is None:
        return []
    seeds = sorted(set.intersection(*(set(point.rows) for point in points)))
    if not seeds:
        return []
    points, base = [point.under(seeds) for point in points], base.under(seeds)
    found = []
    for part, measure in _asked(points):
        curves = _curves(points, base, part, measure)
        found += [_level(curves, baseline, part, measure, loss, base.n_pairs) | {"seeds": seeds} for loss in LOSSES]
    return found


def _asked(points: Sequence[Point]) -> list[tuple[str, str]]:
    """(slice, measure) that every point has."""
    every = [
        {(part, m) for row in point.rows.values() for part, of in row["leakage"].items() for m in of}
        for point in points
    ]
    both = set.intersection(*every)
    return sorted(both, key=lambda pair: (pair[0] != "population", pair[0], pair[1]))


def _curves(points: Sequence[Point], base: Point, part: str, measure: str) -> dict[str, list[CurvePoint]]:
    """By method, its points with accuracy as the difference from the baseline's."""
    curves: dict[str, list[CurvePoint]] = {}
    for point in points:
        leakage = point.leakage(part, measure)
        assert leakage is not None  # every point has what is asked
        curves.setdefault(point.method, []).append(
            CurvePoint(
                f"{point.method} {point.strength}".strip(),
                0.0,
                point.accuracy - base.accuracy,
                leakage,
                point.accuracy_replicates - base.accuracy_replicates,
                point.leakage_replicates(part, measure),
            )
        )
    return curves


def _level(
    curves: Mapping[str, list[CurvePoint]], baseline: str, part: str, measure: str, loss: float, n_pairs: int
) -> dict[str, Any]:
    """Every method's offer at one loss, least leakage first, and whether it is told apart from that; others last."""
    offers = {method: point_at(points, -loss) for method, points in curves.items()}
    reached = {method: offer for method, offer in offers.items() if offer is not None}
    order = sorted(reached, key=lambda method: reached[method].leakage)
    leader, excess = order[0], reached[baseline].leakage - guess_of(measure)
    rows: list[dict[str, Any]] = []
    for method in order:
        offer = reached[method]
        row: dict[str, Any] = {
            "method": method,
            "points": len(curves[method]),
            "value": offer.leakage,
            "accuracy_change": _interval(offer.accuracy, offer.accuracy_replicates, n_pairs),
            "share_left": (offer.leakage - guess_of(measure)) / excess if excess > 0 else None,
        }
        for name, mine, its in (("behind", method, leader), ("over_baseline", baseline, method)):
            if mine != its:
                row[name] = _less(reached[mine], reached[its], n_pairs)
        behind = row.get("behind")
        row["with_leader"] = behind is None or behind["low"] is None or behind["low"] <= 0
        rows.append(row)
    rows += [{"method": m, "points": len(curves[m]), "value": None} for m in curves if m not in reached]
    return {"slice": part, "measure": measure, "loss": loss, "leader": leader, "rows": rows}


def _less(more: CurvePoint, less: CurvePoint, n_pairs: int) -> dict[str, Any]:
    """Leakage of one minus that of the other, paired."""
    assert more.leakage_replicates is not None and less.leakage_replicates is not None  # noqa: PT018 -- for mypy
    return _interval(more.leakage - less.leakage, more.leakage_replicates - less.leakage_replicates, n_pairs)


def _interval(value: float, replicates: Floats | None, n_pairs: int) -> dict[str, Any]:
    assert replicates is not None  # cells have them
    try:
        return plain_interval(percentile_interval(value, replicates, LEVEL, n_pairs))
    except NotEnoughDataError as refusal:
        return {"value": value, "low": None, "high": None, "note": str(refusal)}


def board(levels: Mapping[str, Sequence[Row]], methods: Sequence[str], loss: float) -> list[dict[str, Any]]:
    """Methods by the share of the baseline's leakage that is left at one loss of accuracy, mean over settings.

    Args:
        levels: By setting, from ``matched``.
        methods: Labels.
        loss: One of ``LOSSES``.
    """
    rows = []
    for method in methods:
        by_setting = {name: _place(found, method, loss) for name, found in levels.items()}
        shares = [one["share_left"] for one in by_setting.values() if one and one.get("share_left") is not None]
        rows.append(
            {
                "method": method,
                "settings": by_setting,
                "n_settings": len(shares),
                "share_left": float(np.mean(shares)) if shares else None,
            }
        )
    return sorted(
        rows, key=lambda row: (-row["n_settings"], row["share_left"] if row["share_left"] is not None else math.inf)
    )


def _place(levels: Sequence[Row], method: str, loss: float) -> Row | None:
    """A method's row on the population's area at one loss; None where it is not reached."""
    level = next(
        (one for one in levels if (one["slice"], one["measure"], one["loss"]) == ("population", "auc", loss)), None
    )
    row = next((one for one in level["rows"] if one["method"] == method), None) if level else None
    return None if row is None or row["value"] is None else row
