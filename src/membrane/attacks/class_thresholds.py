"""Class thresholds: is the target surer of x than models are of what they trained on in x's class?

Source: Song & Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", arXiv:2003.10595: a
threshold for each class, chosen on a model whose members the attacker knows to maximize the balanced accuracy of
telling them from its non-members. Where we differ: the score is the distance from the threshold, so that there is a
ROC; every reference plays target and all their trials choose together (the paper: one shadow model), so that each
example serves on both sides and every class has members and non-members; the paper's candidates are tried one by one,
ours by sorting, in O(n log n). The audited model's membership has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup
from membrane.attacks.modified_entropy import ModifiedEntropy
from membrane.attacks.on_base import OnBase
from membrane.attacks.references import Array
from membrane.core.values import Observation


@dataclass(frozen=True)
class ClassThresholds(OnBase):
    """How far a simple score, the modified entropy if not said otherwise, is above the best threshold of x's class.

    Args:
        base: Attack that reads nothing but the target's signals; the paper takes 'modified_entropy', 'confidence' and
            'entropy'.

    Raises:
        SettingError: If ``base`` needs reference models, a population or access to the target.
    """

    name: ClassVar[str] = "class_thresholds"
    source: ClassVar[str] = "Song & Mittal 2021, arXiv:2003.10595 (class-dependent thresholds)"
    min_in_models: ClassVar[int] = 1
    min_out_models: ClassVar[int] = 1

    base: Attack = field(default_factory=ModifiedEntropy)

    def score(self, seen: Observation) -> Scores:
        scores = self.base.score(seen)
        known = np.stack(list(self.of_references(seen)))
        for label in np.unique(seen.labels):
            in_class = seen.labels == label
            trials, is_member = known[:, in_class], seen.in_reference[:, in_class]
            scores[in_class] -= best_threshold(np.sort(trials[is_member]), np.sort(trials[~is_member]))
        return scores

    def score_all(self, lineup: Lineup) -> Scores:
        scores = self.base.score_all(lineup)
        above = np.empty_like(scores)
        for label in np.unique(lineup.labels):
            in_class = lineup.labels == label
            # Sorted once; what is left without a pair is still in order.
            trials, is_member = scores[:, in_class], lineup.membership[:, in_class].ravel()
            order = np.argsort(trials, axis=None)
            rising, member = trials.ravel()[order], is_member[order]
            pair_of = order // (2 * trials.shape[1])
            for pair in range(lineup.n_models // 2):
                known = pair_of != pair
                threshold = best_threshold(rising[known & member], rising[known & ~member])
                above[2 * pair : 2 * pair + 2, in_class] = trials[2 * pair : 2 * pair + 2] - threshold
        return above


def best_threshold(members: Array, non_members: Array) -> float:
    """Score from which on to accuse, for the largest balanced accuracy; the highest of several that are equally good.

    Args:
        members: (n,) scores, one or more, rising; the answer is one of them.
        non_members: (m,) scores, one or more, rising.
    """
    caught = np.arange(len(members), 0, -1)
    accused = len(non_members) - np.searchsorted(non_members, members, side="left")
    # TPR - FPR times both sizes: whole numbers, so that equally good is exactly equal.
    gain = caught * len(non_members) - accused * len(members)
    return float(members[np.flatnonzero(gain == gain.max())[-1]])
