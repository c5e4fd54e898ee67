"""Exact ROC of membership scores, its area, and the share of members caught at few false accusations.

Everything is counted in whole trials: tied scores move as one group, no point is thinned out, scores
are compared and never rescaled, so a monotone change of the scores changes nothing here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import NotEnoughDataError, SettingError
from membrane.metrics.arrays import FloatArray, IntArray, trials
from membrane.metrics.intervals import Rate, clopper_pearson

# 0.29 * 100 is 28.999999999999996 in floats; this much, relative, counts as dust and not as a missing trial.
DUST = 1e-9


@dataclass(frozen=True, eq=False)
class Roc:
    """Every operating point of a membership attack, from accusing nobody to accusing everybody.

    Args:
        fpr: (K + 1,) share of non-members accused, rising from 0 to 1; K is the number of distinct scores.
        tpr: (K + 1,) share of members caught, rising from 0 to 1.
        thresholds: (K + 1,) falling; point k accuses all scores at or above ``thresholds[k]``; the first is infinite.
        n_members: Members counted.
        n_non_members: Non-members counted.
    """

    fpr: FloatArray
    tpr: FloatArray
    thresholds: FloatArray
    n_members: int
    n_non_members: int


def roc(scores: ArrayLike, is_member: ArrayLike) -> Roc:
    """The exact ROC.

    Args:
        scores: (N,), higher means more likely a member.
        is_member: (N,) bool.

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.
    """
    values, members, non_members = _count_groups(scores, is_member)
    caught, accused = np.append(0, np.cumsum(members)), np.append(0, np.cumsum(non_members))
    return Roc(
        fpr=accused / accused[-1],
        tpr=caught / caught[-1],
        thresholds=np.append(np.inf, values),
        n_members=int(caught[-1]),
        n_non_members=int(accused[-1]),
    )


def auc(scores: ArrayLike, is_member: ArrayLike) -> float:
    """Chance that a random member scores above a random non-member, ties counted half: the area under the ROC.

    1 is a perfect attack, 0.5 a guess, below 0.5 an attack that is upside down.

    Args:
        scores: (N,), higher means more likely a member.
        is_member: (N,) bool.

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.

    >>> auc([3.0, 2.0, 2.0, 1.0], [True, True, False, False])
    0.875
    """
    _, members, non_members = _count_groups(scores, is_member)
    return auc_of_counts(members, non_members)


def tpr_at_fpr(
    scores: ArrayLike, is_member: ArrayLike, fpr: float, *, min_false_positives: int = 10, level: float = 0.95
) -> Rate:
    """Share of members caught by the best threshold that accuses at most ``fpr`` of non-members.

    The last reachable point of the ROC, without interpolation: no threshold of this attack does better.
    The interval takes the threshold as given and the trials as independent.

    Args:
        scores: (N,), higher means more likely a member.
        is_member: (N,) bool.
        fpr: Allowed false-positive rate, a fraction (0.001 means 0.1 %).
        min_false_positives: How many non-members ``fpr`` must amount to; with fewer the rate hangs on single ones.
        level: Coverage of the Clopper-Pearson interval.

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.
        NotEnoughDataError: If ``fpr`` amounts to fewer than ``min_false_positives`` non-members.
        SettingError: If ``fpr`` is not above 0 and at most 1, or ``min_false_positives`` is below 1.
    """
    _, members, non_members = _count_groups(scores, is_member)
    check_resolvable(fpr, int(non_members.sum()), min_false_positives)
    return clopper_pearson(caught_of_counts(members, non_members, fpr), int(members.sum()), level)


def balanced_accuracy(scores: ArrayLike, is_member: ArrayLike) -> float:
    """Mean of the shares of members and non-members told right by the best threshold; 0.5 is a guess.

    Optimistic: the threshold is chosen on the trials it is judged on, so it exceeds 0.5 even where nothing
    leaks. A ceiling for what a thresholding attacker reaches, not an estimate of it.

    Args:
        scores: (N,), higher means more likely a member.
        is_member: (N,) bool.

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.
    """
    curve = roc(scores, is_member)
    return float(np.max(curve.tpr - curve.fpr) + 1) / 2


def check_resolvable(fpr: float, n_non_members: int, min_false_positives: int) -> None:
    """Refuse a false-positive rate too fine for so many non-members.

    Raises:
        NotEnoughDataError: If it is; the message says how many are needed and what can be asked instead.
        SettingError: If ``fpr`` is not above 0 and at most 1, or ``min_false_positives`` is below 1.
    """
    if not 0 < fpr <= 1:
        raise SettingError(f"fpr is {fpr}; it must be above 0 and at most 1, a fraction (0.001 means 0.1 %).")
    if not min_false_positives >= 1:
        raise SettingError(f"min_false_positives is {min_false_positives}; it must be 1 or more.")
    needed = math.ceil(min_false_positives / (fpr * (1 + DUST)))
    if n_non_members >= needed:
        return
    finest = min_false_positives / n_non_members if n_non_members else math.inf
    # Rounded up, so that asking again at the printed rate works.
    instead = f"Ask at {math.ceil(finest * 1e5) / 1e3:.3f}% or more, or add non-members." if finest <= 1 else ""
    asked = f"{fpr:.3%}" if fpr >= 1e-5 else f"{100 * fpr:.3g}%"
    raise NotEnoughDataError(
        f"TPR at {asked} FPR needs at least {needed} non-members; there are {n_non_members}. "
        + (instead or f"No FPR can be had from fewer than {min_false_positives}: add non-members.")
    )


def auc_of_counts(members: IntArray, non_members: IntArray) -> float:
    """Area under the ROC from the members and non-members in each tied group, highest score first.

    Both (K,). Whole numbers up to the last division, so it is exact (up to 2e9 trials); NaN if a class is missing.
    """
    accused = np.cumsum(non_members, dtype=np.int64)
    n_members, n_non_members = int(members.sum()), int(accused[-1])
    if n_members == 0 or n_non_members == 0:
        return math.nan
    # Each member beats the non-members below its group, and half of those inside it.
    twice_beaten = int(np.dot(members, 2 * (n_non_members - accused) + non_members))
    return twice_beaten / (2 * n_members * n_non_members)


def caught_of_counts(members: IntArray, non_members: IntArray, fpr: float) -> int:
    """Members at or above the lowest threshold that accuses at most ``fpr`` of non-members; groups as above."""
    accused = np.cumsum(non_members, dtype=np.int64)
    allowed = math.floor(fpr * int(accused[-1]) * (1 + DUST))
    n_groups = int(np.searchsorted(accused, allowed, side="right"))
    return int(members[:n_groups].sum())


def group_starts(falling: FloatArray) -> IntArray:
    """(K,) index at which each run of equal values starts in the sorted (N,) ``falling``."""
    return np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))


def _count_groups(scores: ArrayLike, is_member: ArrayLike) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct scores, falling, and the members and non-members that have each; all (K,)."""
    checked, member = trials(scores, is_member)
    order = np.argsort(-checked)
    falling = checked[order]
    starts = group_starts(falling)
    members = np.add.reduceat(member[order], starts, dtype=np.int64)
    sizes = np.diff(np.append(starts, falling.size))
    return falling[starts], members, sizes - members
