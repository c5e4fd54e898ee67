"""Difficulty calibration: a simple score, minus what models that never saw x score on it.

Source: Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference Attacks",
arXiv:2111.08440: s(target, x) minus the mean of s(reference, x) over reference models without x. Where we differ: our
references train like the target, on halves of one pool (the paper's on other data, its code by training the target on
for some epochs); its confidence, label-free as the largest probability, is here the label's; its scores that need
gradients or adversarial examples are not among the bases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup
from membrane.attacks.loss import LossThreshold
from membrane.attacks.on_base import OnBase
from membrane.core.values import Observation


@dataclass(frozen=True)
class Calibration(OnBase):
    """A simple score, minus the loss if not said otherwise, less its mean over the OUT references.

    Args:
        base: Attack that reads nothing but the target's signals, such as 'loss', 'confidence' or 'modified_entropy'.

    Raises:
        SettingError: If ``base`` needs reference models, a population or access to the target.
    """

    name: ClassVar[str] = "calibration"
    source: ClassVar[str] = "Watson et al. 2022, arXiv:2111.08440"
    min_out_models: ClassVar[int] = 1

    base: Attack = field(default_factory=LossThreshold)

    def score(self, seen: Observation) -> Scores:
        total = np.zeros(len(seen.labels))
        for scores, is_member in zip(self.of_references(seen), seen.in_reference, strict=True):
            total += np.where(is_member, 0.0, scores)
        return self.base.score(seen) - total / seen.n_out

    def score_all(self, lineup: Lineup) -> Scores:
        scores = self.base.score_all(lineup)
        centre = scores.mean(axis=0)  # what all models find easy or hard would cancel
        shifted = np.where(lineup.membership, 0.0, scores - centre)  # of a pair, one is left
        left_out = (shifted[::2] + shifted[1::2]).repeat(2, axis=0)
        expected: Scores = centre + (shifted.sum(axis=0) - left_out) / lineup.n_references
        return scores - expected
