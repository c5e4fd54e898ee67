"""Two pipelines on the same data splits: the difference of what they leak, with its interval.

Where each is swept over a strength, ``matched_difference`` compares at equal accuracy, which is fairer; this is for two
finished choices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError
from membrane.metrics.arrays import trials
from membrane.metrics.influence import Estimate, auc_estimate, difference_interval, tpr_estimate
from membrane.metrics.intervals import Interval


def leakage_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    is_member: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    fpr: float | None = None,
    models_per_cluster: int = 2,
    level: float = 0.95,
) -> Interval:
    """Their leakage minus ours: above 0, ours leaks less. What both share trial by trial cancels.

    Args:
        ours: (R, N) scores of our models, higher means more likely a member.
        theirs: (R, N) scores of theirs; row by row trained on the same examples.
        is_member: (R, N) bool, for both.
        mask: (N,) bool, the examples that count; all if not given.
        fpr: Compare the shares of members caught at this false-positive rate; the areas under the ROC if not given.
        models_per_cluster: Neighbouring rows that belong together: 2 for complementary pairs.
        level: Coverage aimed at (0.95 means 95 %).

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing.
        NotEnoughDataError: If ``fpr`` amounts to fewer than ten non-member trials.
        SettingError: If ``fpr``, ``level`` or ``models_per_cluster`` is out of range.
    """
    mine, member = trials(ours, is_member, 2)
    if mine.shape != np.shape(theirs):
        raise DataError(f"ours have shape {mine.shape}, theirs {np.shape(theirs)}; they must be equal.")

    def leakage(scores: ArrayLike) -> Estimate:
        if fpr is None:
            return auc_estimate(scores, member, mask)
        return tpr_estimate(scores, member, fpr, mask)

    return difference_interval(leakage(theirs) - leakage(mine), models_per_cluster=models_per_cluster, level=level)
