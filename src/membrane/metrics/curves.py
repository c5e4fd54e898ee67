"""Accuracy against leakage: methods are compared as curves, at equal accuracy or at equal leakage.

A method swept over its strength gives points. Its lower frontier are the points that no other point of
the same method beats in both, joined by straight lines. More points give a lower frontier by luck alone,
so methods are to be compared with sweeps of similar length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, NotEnoughDataError
from membrane.metrics.arrays import FloatArray
from membrane.metrics.bootstrap import percentile_interval
from membrane.metrics.intervals import Interval


@dataclass(frozen=True, eq=False)
class CurvePoint:
    """One strength of one method.

    Args:
        label: Of the point, for figures and errors.
        strength: The swept setting.
        accuracy: Test accuracy, higher is better.
        leakage: Leakage, such as an AUC, lower is better.
        accuracy_replicates: (B,), or None where no interval is wanted.
        leakage_replicates: (B,) from the same ``Resamples``, or None.

    Raises:
        DataError: If accuracy or leakage is not finite, or only one of the replicates is there, or they differ in B.
    """

    label: str
    strength: float
    accuracy: float
    leakage: float
    accuracy_replicates: FloatArray | None = None
    leakage_replicates: FloatArray | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.accuracy) and math.isfinite(self.leakage)):
            raise DataError(f"Point {self.label!r} has accuracy {self.accuracy}, leakage {self.leakage}; not finite.")
        shapes = [None if r is None else np.shape(r) for r in (self.accuracy_replicates, self.leakage_replicates)]
        if shapes[0] != shapes[1] or (shapes[0] is not None and len(shapes[0]) != 1):
            raise DataError(
                f"Point {self.label!r} has replicates of shape {shapes[0]} and {shapes[1]}; both must be (B,)."
            )


def leakage_at(points: Sequence[CurvePoint], accuracy: float) -> float:
    """Least leakage the method reaches at this accuracy or better; NaN where no point is so accurate.

    Raises:
        DataError: If there are no points.
    """
    return _read_leakage(*_frontier(*_coordinates(points)), accuracy)


def accuracy_at(points: Sequence[CurvePoint], leakage: float) -> float:
    """Best accuracy the method reaches at this leakage or less; NaN where no point leaks so little.

    Raises:
        DataError: If there are no points.
    """
    return _read_accuracy(*_frontier(*_coordinates(points)), leakage)


def point_at(points: Sequence[CurvePoint], accuracy: float) -> CurvePoint | None:
    """What a method has to offer at this accuracy or better: a point of its frontier, between two of its own.

    Which two and in what shares is settled by what was measured on all data, and held fixed in all resamples. So the
    replicates say how sure leakage and accuracy of this offer are, not whether a resample would have offered another:
    near the most accurate point ``matched_difference`` has no interval, since half of its resamples miss the accuracy.

    Args:
        points: With replicates or all without.
        accuracy: That the point has at least.

    Returns:
        The point, its strength the mean of its neighbours'; None where no point is so accurate.

    Raises:
        DataError: If there are no points.
    """
    accuracies, leakages = _coordinates(points)
    unbeaten = [i for i in np.argsort(accuracies, kind="stable") if _is_unbeaten(int(i), accuracies, leakages)]
    above = next((k for k, i in enumerate(unbeaten) if accuracies[i] >= accuracy), None)
    if above is None:
        return None
    upper, lower = points[int(unbeaten[above])], points[int(unbeaten[max(above - 1, 0)])]
    gap = upper.accuracy - lower.accuracy
    share = min((upper.accuracy - accuracy) / gap, 1.0) if gap > 0 else 0.0
    if share == 0:
        return upper
    return CurvePoint(
        f"{lower.label} and {upper.label}",
        share * lower.strength + (1 - share) * upper.strength,
        share * lower.accuracy + (1 - share) * upper.accuracy,
        share * lower.leakage + (1 - share) * upper.leakage,
        _mixed(lower.accuracy_replicates, upper.accuracy_replicates, share),
        _mixed(lower.leakage_replicates, upper.leakage_replicates, share),
    )


def _is_unbeaten(i: int, accuracy: FloatArray, leakage: FloatArray) -> bool:
    """Whether no other point is as good in both and better in one; of equal ones the first."""
    as_good = (accuracy >= accuracy[i]) & (leakage <= leakage[i])
    better = as_good & ((accuracy > accuracy[i]) | (leakage < leakage[i]))
    return not better.any() and int(np.flatnonzero(as_good)[0]) == i


def _mixed(lower: FloatArray | None, upper: FloatArray | None, share: float) -> FloatArray | None:
    return None if lower is None or upper is None else share * lower + (1 - share) * upper


def matched_difference(
    ours: Sequence[CurvePoint], theirs: Sequence[CurvePoint], accuracy: float, *, n_models: int, level: float = 0.95
) -> Interval:
    """Their leakage minus ours at equal accuracy: above 0, ours leaks less.

    Both frontiers are found anew in each resample. A resample in which only one curve reaches the accuracy
    counts as an infinite difference against the other, so the interval opens instead of quietly leaving out
    what went badly. The note says so, and also where the curves do not overlap.

    Args:
        ours: Points with replicates.
        theirs: Points with replicates from the same ``Resamples``, so that the difference is paired.
        accuracy: At which to compare, or better.
        n_models: Models resampled as wholes.
        level: Coverage aimed at (0.95 means 95 %).

    Raises:
        DataError: If a curve is empty, or replicates are missing or differ in number.
        SettingError: If ``level`` is not strictly between 0 and 1.
    """
    return _compare(ours, theirs, accuracy, _AT_ACCURACY, n_models, level)


def matched_accuracy_difference(
    ours: Sequence[CurvePoint], theirs: Sequence[CurvePoint], leakage: float, *, n_models: int, level: float = 0.95
) -> Interval:
    """Our accuracy minus theirs at equal leakage: above 0, ours is more accurate.

    Everything else is as in ``matched_difference``.
    """
    return _compare(ours, theirs, leakage, _AT_LEAKAGE, n_models, level)


def _coordinates(points: Sequence[CurvePoint]) -> tuple[FloatArray, FloatArray]:
    if not points:
        raise DataError("A curve has no points; sweep at least one strength.")
    return np.array([p.accuracy for p in points]), np.array([p.leakage for p in points])


def _frontier(accuracy: FloatArray, leakage: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The unbeaten points, both coordinates strictly rising."""
    order = np.lexsort((leakage, -accuracy))  # most accurate first; of equals the least leaky
    accuracy, leakage = accuracy[order], leakage[order]
    least_so_far = np.minimum.accumulate(np.append(np.inf, leakage[:-1]))
    unbeaten = leakage < least_so_far
    return accuracy[unbeaten][::-1], leakage[unbeaten][::-1]


def _read_leakage(accuracy: FloatArray, leakage: FloatArray, at: float) -> float:
    # Below the least accurate point np.interp stays at its leakage: "or better".
    return float(np.interp(at, accuracy, leakage, right=np.nan))


def _read_accuracy(accuracy: FloatArray, leakage: FloatArray, at: float) -> float:
    return float(np.interp(at, leakage, accuracy, left=np.nan))


@dataclass(frozen=True)
class _Match:
    """What is held equal and what is then compared."""

    axis: str
    read: Callable[[FloatArray, FloatArray, float], float]
    sign: int  # makes a positive difference speak for ours

    def reachable(self, points: Sequence[CurvePoint]) -> tuple[float, float]:
        values = _frontier(*_coordinates(points))[0 if self.axis == "accuracy" else 1]
        return float(values[0]), float(values[-1])


_AT_ACCURACY = _Match("accuracy", _read_leakage, -1)
_AT_LEAKAGE = _Match("leakage", _read_accuracy, 1)


def _compare(
    ours: Sequence[CurvePoint], theirs: Sequence[CurvePoint], at: float, match: _Match, n_models: int, level: float
) -> Interval:
    value = _difference(_frontier(*_coordinates(ours)), _frontier(*_coordinates(theirs)), at, match)
    replicates = _differences(ours, theirs, at, match)
    notes = _overlap_notes(ours, theirs, at, match)
    if not math.isfinite(value):
        method = "none: a curve does not reach the place of comparison"
        return Interval(math.nan, math.nan, math.nan, level, method, n_models, "; ".join(notes))
    for infinity, who in ((-math.inf, "ours"), (math.inf, "theirs")):
        n_unreached = int(np.count_nonzero(replicates == infinity))
        if n_unreached:
            notes.append(f"{who} does not reach {match.axis} {at:.4g} in {n_unreached} of {replicates.size} resamples")
    try:
        interval = percentile_interval(value, replicates, level, n_models)
    except NotEnoughDataError as error:  # the point is still worth reporting
        return Interval(value, math.nan, math.nan, level, "none", n_models, "; ".join([*notes, str(error)]))
    return replace(interval, note="; ".join(note for note in (interval.note, *notes) if note))


def _difference(
    ours: tuple[FloatArray, FloatArray], theirs: tuple[FloatArray, FloatArray], at: float, match: _Match
) -> float:
    """Positive speaks for ours; infinite if one curve does not reach ``at``, NaN if neither does."""
    mine, other = match.read(*ours, at), match.read(*theirs, at)
    if math.isnan(mine):
        return math.nan if math.isnan(other) else -math.inf
    return math.inf if math.isnan(other) else match.sign * (mine - other)


def _differences(ours: Sequence[CurvePoint], theirs: Sequence[CurvePoint], at: float, match: _Match) -> FloatArray:
    """(B,) paired differences; NaN where a point has no value in that resample."""
    curves = [_replicates(points) for points in (ours, theirs)]
    if curves[0].shape[0] != curves[1].shape[0]:
        raise DataError(
            f"ours has {curves[0].shape[0]} replicates, theirs {curves[1].shape[0]}; use the same resamples for both."
        )
    return np.array([_one_difference(mine, other, at, match) for mine, other in zip(*curves, strict=True)])


def _one_difference(ours: FloatArray, theirs: FloatArray, at: float, match: _Match) -> float:
    if np.isnan(ours).any() or np.isnan(theirs).any():
        return math.nan
    return _difference(_frontier(*ours), _frontier(*theirs), at, match)


def _replicates(points: Sequence[CurvePoint]) -> FloatArray:
    """(B, 2, P): accuracies and leakages of all points in each resample."""
    pairs: list[tuple[ArrayLike, ArrayLike]] = []
    for point in points:
        if point.accuracy_replicates is None or point.leakage_replicates is None:
            raise DataError(f"Point {point.label!r} has no replicates; an interval needs them on every point.")
        pairs.append((point.accuracy_replicates, point.leakage_replicates))
    sizes = sorted({np.size(accuracy) for accuracy, _ in pairs})
    if len(sizes) > 1:
        raise DataError(f"Points of one curve have {sizes} replicates; use the same resamples for all.")
    return np.moveaxis(np.array(pairs, dtype=np.float64), 2, 0).swapaxes(1, 2)


def _overlap_notes(ours: Sequence[CurvePoint], theirs: Sequence[CurvePoint], at: float, match: _Match) -> list[str]:
    ranges = {"ours": match.reachable(ours), "theirs": match.reachable(theirs)}
    notes = list(_range_notes(ranges, at, match))
    (low, high), (their_low, their_high) = ranges.values()
    if high < their_low or their_high < low:
        spans = ", ".join(f"{who} {span[0]:.4g} to {span[1]:.4g}" for who, span in ranges.items())
        notes.insert(0, f"the curves do not overlap in {match.axis}: {spans}")
    return notes


def _range_notes(ranges: dict[str, tuple[float, float]], at: float, match: _Match) -> Iterator[str]:
    """Where ``at`` lies outside a curve: on one side nothing is reached, on the other its end stands in."""
    for who, (low, high) in ranges.items():
        below, above = at < low, at > high
        unreached, end, last = (above, high, low) if match.axis == "accuracy" else (below, low, high)
        if unreached:
            yield f"{who} does not reach {match.axis} {at:.4g}; its best is {end:.4g}"
        elif below or above:
            yield f"{who} stops at {match.axis} {last:.4g}; that end stands in for {at:.4g}"
