"""Who is accused by which model, at each model's own threshold: the risk of single examples, and their false alarms.

A rate over all trials is an average. Behind it some members are caught by every model that was trained on them and
most by none, and some examples are accused whoever was trained on them: their own false-positive rate is far above
the one that was allowed.

Source: Carlini et al. 2022, "The Privacy Onion Effect: Memorization is Relative", arXiv:2206.10469, for risk that sits
in few examples; Hayes et al. 2025, "Strong Membership Inference Attacks on Massive Datasets and (Moderately) Large
Language Models", arXiv:2505.18773, for single examples that change from training to training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc

from membrane.metrics.agreement import Agreement, agreement_of
from membrane.metrics.arrays import BoolArray, IntArray, trials
from membrane.metrics.intervals import Rate, clopper_pearson
from membrane.metrics.roc import DUST, check_resolvable


@dataclass(frozen=True, eq=False)
class Accusations:
    """Whom each model's threshold accuses.

    Args:
        fpr: Share of its own non-members that each model accuses at most.
        said: (R, N) bool, whom it accuses.
        is_member: (R, N) bool.
    """

    fpr: float
    said: BoolArray
    is_member: BoolArray

    @property
    def caught(self) -> IntArray:
        """(N,) models trained on the example that accuse it."""
        found: IntArray = (self.said & self.is_member).sum(axis=0)
        return found

    @property
    def falsely(self) -> IntArray:
        """(N,) models not trained on the example that accuse it."""
        found: IntArray = (self.said & ~self.is_member).sum(axis=0)
        return found

    def agreement(self, level: float = 0.95) -> Agreement:
        """How many members are caught by any, most and all of the models trained on them, and by the same ones.

        Raises:
            NotEnoughDataError: If there is one model only.
        """
        return agreement_of(self.said, self.is_member, self.fpr, level=level)

    def falsely_twice(self, level: float = 0.95) -> tuple[Rate, float]:
        """Share of examples that two or more models accuse falsely, and what it would be if none drew more than others.

        Far above it, the false-positive rate that was allowed on average is not that of each example.
        """
        n = (~self.is_member).sum(axis=0)
        often = n >= 2
        rate = float(self.falsely.sum() / max(int(n.sum()), 1))
        # Chance of two or more in n: the binomial's upper tail.
        expected = float(betainc(2, n[often] - 1, rate).mean()) if often.any() else math.nan
        return clopper_pearson(int(np.count_nonzero(self.falsely[often] >= 2)), int(often.sum()), level), expected


def accusations(scores: ArrayLike, is_member: ArrayLike, fpr: float, *, min_false_positives: int = 10) -> Accusations:
    """Whom each model's lowest threshold that accuses at most ``fpr`` of its non-members accuses.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool, with members and non-members in each row.
        fpr: Allowed false-positive rate, a fraction (0.001 means 0.1 %).
        min_false_positives: How many of each model's non-members it must amount to.

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing.
        NotEnoughDataError: If ``fpr`` amounts to too few non-members of a model.
        SettingError: If ``fpr`` is not above 0 and at most 1.
    """
    checked, member = trials(scores, is_member, 2)
    said = np.zeros(member.shape, dtype=bool)
    for row, (values, inside) in enumerate(zip(checked, member, strict=True)):
        others = np.sort(values[~inside])
        check_resolvable(fpr, others.size, min_false_positives)
        allowed = math.floor(fpr * others.size * (1 + DUST))
        said[row] = values > (others[-1 - allowed] if allowed < others.size else -math.inf)
    return Accusations(fpr, said, member)
