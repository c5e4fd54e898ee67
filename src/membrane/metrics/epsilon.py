"""A lower bound on epsilon from many independent trials, by the error rates of an attack.

Under (epsilon, delta) differential privacy no attack with any threshold has TPR above e^epsilon FPR + delta, nor TNR
above e^epsilon FNR + delta. An attack that does shows a larger epsilon, and Clopper-Pearson bounds of its rates say
how surely.

Source: Kairouz, Oh and Viswanath 2015, "The Composition Theorem for Differential Privacy", arXiv:1311.0776, for the
region of error rates; Jagielski, Ullman and Oprea 2020, "Auditing Differentially Private Machine Learning: How Private
is Private SGD?", arXiv:2006.07709, for bounding epsilon by Clopper-Pearson. Where we differ: both directions are
looked at, and all thresholds share one error budget, so that the best of them may be reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import SettingError
from membrane.metrics.arrays import BoolArray, FloatArray, finite_floats, trials
from membrane.metrics.intervals import Rate, check_level, clopper_pearson

Side = Literal["members", "non-members", "neither"]


@dataclass(frozen=True)
class EpsilonBound:
    """What the error rates of an attack prove.

    Args:
        low: Nats; the mechanism is less private than this, or a chance of ``1 - level`` came true. 0 proves nothing.
        side: Whom the attack betrays most: members (few false accusations), non-members (few members missed).
        threshold: At which it does; NaN if at none.
        tpr: Share of members at or above it, with the interval that was used; that of the first threshold if at none.
        fpr: Share of non-members at or above it, likewise.
        delta: Of the (epsilon, delta) that is bounded.
        level: Confidence over all thresholds together.
        n_thresholds: That share the error budget.
    """

    low: float
    side: Side
    threshold: float
    tpr: Rate
    fpr: Rate
    delta: float
    level: float
    n_thresholds: int


def epsilon_bound(
    scores: ArrayLike, is_member: ArrayLike, thresholds: ArrayLike, *, delta: float = 0.0, level: float = 0.95
) -> EpsilonBound:
    """The largest epsilon that the best threshold rules out; conservative.

    Two rates are bounded at each of K thresholds, so each interval is allowed ``(1 - level) / (2 K)`` of error. All of
    them then hold at once, and any threshold, and either direction, may be picked afterwards.

    Trials must be independent: one score of one canary for each trained model, say. For many canaries in one model
    use ``audit_one_run``.

    Args:
        scores: (N,), higher means more likely a member.
        is_member: (N,) bool.
        thresholds: (K,), fixed before these trials were seen, or found on other ones; scores at or above are accused.
        delta: 0 or more, below 1.
        level: Confidence (0.95 means 95 %).

    Raises:
        DataError: If the arrays do not fit each other, are not finite, or lack a class.
        SettingError: If ``delta`` or ``level`` is outside its range.
    """
    check_level(level)
    if not 0 <= delta < 1:  # written this way round so that NaN is refused too
        raise SettingError(f"delta is {delta}; it must be 0 or more, and below 1.")
    checked, member = trials(scores, is_member)
    cuts = finite_floats(thresholds, "thresholds", 1)
    return max((_at(cut, checked, member, delta, level, cuts.size) for cut in cuts.tolist()), key=lambda one: one.low)


def _at(cut: float, scores: FloatArray, member: BoolArray, delta: float, level: float, n: int) -> EpsilonBound:
    """What one of ``n`` thresholds proves."""
    each = 1 - (1 - level) / (2 * n)
    tpr, fpr = (
        clopper_pearson(int(np.count_nonzero(scores[group] >= cut)), int(np.count_nonzero(group)), each)
        for group in (member, ~member)
    )
    sides: tuple[tuple[float, Side], ...] = (
        (_log_ratio(tpr.low - delta, fpr.high), "members"),
        (_log_ratio(1 - fpr.high - delta, 1 - tpr.low), "non-members"),
    )
    low, side = max(sides)
    if low <= 0:
        side, cut = "neither", math.nan
    return EpsilonBound(low, side, cut, tpr, fpr, delta, level, n)


def _log_ratio(above: float, below: float) -> float:
    """Logarithm of a ratio, 0 if it is less than 1; ``below`` is an upper bound of a rate, and so never 0."""
    return math.log(above / below) if above > below else 0.0
