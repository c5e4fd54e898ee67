"""How many non-members it takes to say something about a small false-positive rate.

Both answers come from exact binomial intervals (Clopper and Pearson 1934, Biometrika 26(4), 404-413) and count
independent trials; trials that share a model or an example are worth fewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import betaincinv

from membrane.core.errors import SettingError
from membrane.metrics.intervals import check_level, clopper_pearson


def non_members_to_show(fpr: float, *, false_positives: int = 0, level: float = 0.95) -> int:
    """Fewest non-members that prove a false-positive rate of ``fpr`` or less, if at most so many are accused.

    With none accused it is about 3 / ``fpr`` at 95 %: a false-positive rate of 0.1 % takes 2995 that pass.

    Args:
        fpr: The rate to be shown, a fraction (0.001 means 0.1 %).
        false_positives: Non-members that may be accused among them.
        level: One-sided confidence (0.95 means 95 %).

    Raises:
        SettingError: If ``fpr`` or ``level`` is not strictly between 0 and 1, or ``false_positives`` negative.

    >>> non_members_to_show(0.001)
    2995
    """
    _check(fpr, level)
    if false_positives < 0:
        raise SettingError(f"false_positives is {false_positives}; it must be 0 or more.")

    def is_enough(n: int) -> bool:
        # One-sided upper bound of the rate, in which only ``false_positives`` of n were accused.
        return float(betaincinv(false_positives + 1, n - false_positives, level)) <= fpr

    return _least(is_enough, false_positives + 1)


def non_members_to_measure(fpr: float, relative_error: float, *, level: float = 0.95) -> int:
    """Fewest non-members among which a rate of ``fpr`` gets an interval within ``1 +- relative_error`` of it.

    Args:
        fpr: The rate, a fraction (0.001 means 0.1 %).
        relative_error: How far each end of the interval may be off, as a share of ``fpr``: 0.5 for half of it.
        level: Two-sided confidence (0.95 means 95 %).

    Raises:
        SettingError: If ``fpr`` or ``level`` is not strictly between 0 and 1, or ``relative_error`` is not above 0.

    >>> non_members_to_measure(0.001, 0.5)  # 21 accused: from 12.4 to 33.1 of them
    24000
    """
    _check(fpr, level)
    if not 0 < relative_error < math.inf:
        raise SettingError(f"relative_error is {relative_error}; it must be above 0 (0.5 means half of the rate).")

    def is_enough(accused: int) -> bool:
        rate = clopper_pearson(accused, math.ceil(accused / fpr), level)
        return rate.low >= fpr * (1 - relative_error) and rate.high <= fpr * (1 + relative_error)

    return math.ceil(_least(is_enough, 1) / fpr)


def _check(fpr: float, level: float) -> None:
    check_level(level)
    if not 0 < fpr < 1:  # written this way round so that NaN is refused too
        raise SettingError(f"fpr is {fpr}; it must be above 0 and below 1, a fraction (0.001 means 0.1 %).")


def _least(is_enough: Callable[[int], bool], first: int) -> int:
    """Smallest whole number from ``first`` on that is enough, given that all larger ones are."""
    if is_enough(first):
        return first
    short, enough = first, 2 * first
    while not is_enough(enough):
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if is_enough(middle) else (middle, enough)
    return enough
