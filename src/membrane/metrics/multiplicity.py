"""Many questions at once: which slices leak more than the rest, when looking at all of them?

One slice in twenty looks worse by luck at the 5 % level. Holm's procedure keeps the chance of even one such mistake
among all slices below the level, whatever their dependence.

Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6(2),
65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, NotEnoughDataError
from membrane.metrics.arrays import BoolArray, FloatArray, finite_floats, trials
from membrane.metrics.bootstrap import Resamples, auc_replicates, percentile_interval
from membrane.metrics.intervals import Interval
from membrane.metrics.roc import auc
from membrane.metrics.slices import Slice, check_slices


@dataclass(frozen=True)
class SliceExcess:
    """How much more a slice leaks than the rest of the examples.

    Args:
        name: Of the slice.
        excess: Its area under the ROC less that of the rest, with an interval for this slice alone.
        p_value: Chance of so many resamples with an excess above 0 if there were none, for this slice alone.
        adjusted: The same among all slices, by Holm; below 0.05: this slice leaks more, with 5 % risk of error in all.
    """

    name: str
    excess: Interval
    p_value: float
    adjusted: float


def holm(p_values: ArrayLike) -> FloatArray:
    """(K,) p-values adjusted so that those at most ``a`` hold together, with a chance of ``a`` that any is wrong.

    Raises:
        DataError: If they are not (K,) numbers between 0 and 1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    checked = finite_floats(p_values, "p-values", 1)
    if checked.min() < 0 or checked.max() > 1:
        raise DataError(f"p-values go from {checked.min()} to {checked.max()}; they must lie between 0 and 1.")
    order = np.argsort(checked)
    steps = checked[order] * np.arange(checked.size, 0, -1)
    adjusted = np.empty_like(checked)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def slice_excesses(
    scores: ArrayLike,
    is_member: ArrayLike,
    slices: Sequence[Slice],
    resamples: Resamples,
    *,
    n_models: int,
    level: float = 0.95,
) -> tuple[SliceExcess, ...]:
    """Which slices leak more than the rest, by the cluster bootstrap, in the order given.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        slices: Of the N examples, chosen before the scores were seen, each with members and non-members inside and out.
        resamples: Draws of R models and N examples; K slices need 20 K or more of them to be told at 5 %.
        n_models: Models drawn as wholes (pairs, if drawn as pairs).
        level: Coverage of the intervals.

    Raises:
        DataError: If shapes do not fit, or a slice or its rest lacks a class.
        NotEnoughDataError: If there are too few resamples for so many slices at ``level``.
    """
    checked, member = trials(scores, is_member, 2)
    check_slices(slices, checked.shape[1])
    if (resamples.n_resamples + 1) * (1 - level) < len(slices):
        raise NotEnoughDataError(
            f"{len(slices)} slices at {level:.0%} need at least {round(len(slices) / (1 - level))} resamples; "
            f"there are {resamples.n_resamples}."
        )
    found = [_excess(checked, member, one.mask, resamples, n_models, level) for one in slices]
    adjusted = holm([p_value for _, p_value in found])
    return tuple(
        SliceExcess(one.name, interval, p_value, float(together))
        for one, (interval, p_value), together in zip(slices, found, adjusted, strict=True)
    )


def _excess(
    scores: FloatArray, member: BoolArray, mask: BoolArray, resamples: Resamples, n_models: int, level: float
) -> tuple[Interval, float]:
    areas, replicates = [], []
    for part in (mask, ~mask):
        areas.append(auc(scores[:, part].ravel(), member[:, part].ravel()))
        replicates.append(auc_replicates(scores[:, part], member[:, part], resamples.for_slice(part)))
    spread = replicates[0] - replicates[1]
    seen = spread[~np.isnan(spread)]
    p_value = (1 + np.count_nonzero(seen <= 0)) / (1 + seen.size)
    return percentile_interval(areas[0] - areas[1], spread, level, n_models), float(p_value)
