"""Two pipelines on the same data splits: the difference of what they leak, with its interval.

Where each is swept over a strength, ``matched_difference`` compares at equal accuracy, which is fairer; this is for two
finished choices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError
from membrane.metrics.arrays import FloatArray, trials
from membrane.metrics.bootstrap import Resamples, auc_replicates, percentile_interval, tpr_replicates
from membrane.metrics.intervals import Interval
from membrane.metrics.roc import auc, tpr_at_fpr


def leakage_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    is_member: ArrayLike,
    resamples: Resamples,
    *,
    n_models: int,
    fpr: float | None = None,
    level: float = 0.95,
) -> Interval:
    """Their leakage minus ours: above 0, ours leaks less. Both are drawn together, so what they share cancels.

    Args:
        ours: (R, N) scores of our models, higher means more likely a member.
        theirs: (R, N) scores of theirs; row by row trained on the same examples.
        is_member: (R, N) bool, for both.
        resamples: Draws of R models and N examples.
        n_models: Models drawn as wholes (pairs, if drawn as pairs).
        fpr: Compare the shares of members caught at this false-positive rate; the areas under the ROC if not given.
        level: Coverage aimed at (0.95 means 95 %).

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing.
        NotEnoughDataError: If ``fpr`` amounts to fewer than ten non-member trials.
        SettingError: If ``fpr`` or ``level`` is out of range.
    """
    mine, member = trials(ours, is_member, 2)
    other, _ = trials(theirs, is_member, 2)
    if mine.shape != other.shape:
        raise DataError(f"ours have shape {mine.shape}, theirs {other.shape}; they must be equal.")

    def point(scores: FloatArray) -> float:
        flat = scores.ravel(), member.ravel()
        return auc(*flat) if fpr is None else tpr_at_fpr(*flat, fpr).value

    def replicates(scores: FloatArray) -> FloatArray:
        if fpr is None:
            return auc_replicates(scores, member, resamples)
        return tpr_replicates(scores, member, fpr, resamples)

    spread = np.subtract(replicates(other), replicates(mine))
    return percentile_interval(point(other) - point(mine), spread, level, n_models)
