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

from membrane.core.errors import DataError
from membrane.metrics.arrays import FloatArray, finite_floats, trials
from membrane.metrics.influence import auc_estimate, difference_interval, p_value_above
from membrane.metrics.intervals import Interval
from membrane.metrics.slices import Slice, check_slices


@dataclass(frozen=True)
class SliceExcess:
    """How much more a slice leaks than the rest of the examples.

    Args:
        name: Of the slice.
        excess: Its area under the ROC less that of the rest, with an interval for this slice alone.
        p_value: Chance of an excess so large if there were none, for this slice alone.
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
    *,
    models_per_cluster: int = 2,
    level: float = 0.95,
) -> tuple[SliceExcess, ...]:
    """Which slices leak more than the rest, in the order given.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        slices: Of the N examples, chosen before the scores were seen, each with members and non-members inside and out.
        models_per_cluster: Neighbouring rows that belong together: 2 for complementary pairs.
        level: Coverage of the intervals.

    Raises:
        DataError: If shapes do not fit, or a slice or its rest lacks a class.
        SettingError: If ``level`` or ``models_per_cluster`` is out of range.
    """
    checked, member = trials(scores, is_member, 2)
    check_slices(slices, checked.shape[1])
    excesses, p_values = [], []
    for one in slices:  # one after the other: what each trial adds takes as much memory as the scores
        found = auc_estimate(checked, member, one.mask) - auc_estimate(checked, member, ~one.mask)
        excesses.append(difference_interval(found, models_per_cluster=models_per_cluster, level=level))
        p_values.append(p_value_above(found, models_per_cluster=models_per_cluster))
    return tuple(
        SliceExcess(one.name, excess, p_value, float(adjusted))
        for one, excess, p_value, adjusted in zip(slices, excesses, p_values, holm(p_values), strict=True)
    )
