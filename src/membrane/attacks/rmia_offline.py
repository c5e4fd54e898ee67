"""Offline RMIA: has the target raised the probability of x's label more than that of strangers'?

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv:2312.03262, offline variant.
With r_x = P(x | target) / P(x), the score is the share of population examples z with r_x / r_z >= gamma.
Where we differ: P is the plain softmax probability of the label (their code rescales it with a Taylor softmax); gamma
is 1 (their code 2, for that rescaling; the authors' later tool 1), since a plain probability saturates and a ratio of 2
would be out of reach for most examples; several queries are averaged as log r before z is compared (they compare each
query and take the majority); equal shares are ordered by r_x itself. All pairs are counted exactly, by sorting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.lineup import Lineup, Side, marked
from membrane.attacks.references import Array, log_mean_exp, log_mixture
from membrane.core.errors import SettingError, raise_all
from membrane.core.values import Observation


@dataclass(frozen=True)
class OfflineRMIA(Attack):
    """Share of the population that x beats, each divided by how likely its label is for any model.

    At gamma = 1 one minus the score estimates the false-positive rate of accusing x, so scores of different targets
    can be compared. For one target the order of the scores is that of r_x, whatever gamma and the population.

    Args:
        gamma: How many times more than z's the probability of x must have risen, above 0.
        a: How much worse than OUT models IN models can be: P_in is taken as a * P_out + 1 - a, 0 to 1. Lower for
            models that overfit more; 1 when nothing is known. The paper found 0.3 on CIFAR-10, 0.6 on CIFAR-100.

    Raises:
        SettingError: If either is outside its range.
    """

    name: ClassVar[str] = "rmia_offline"
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262 (offline)"
    signals: ClassVar[tuple[str, ...]] = ("loss",)
    min_out_models: ClassVar[int] = 1
    min_population: ClassVar[int] = 100  # steps of one percent
    sides: ClassVar[tuple[Side, ...]] = ("out",)  # references that P(x) comes from

    gamma: float = 1.0
    a: float = 0.3

    def __post_init__(self) -> None:
        mistakes = []
        if not 0 < self.gamma < math.inf:  # written this way round so that NaN is refused too
            mistakes.append(f"gamma is {self.gamma}; it must be above 0 (1 = z's own ratio).")
        if not 0 <= self.a <= 1:
            mistakes.append(f"a is {self.a}; it must be between 0 and 1.")
        raise_all(mistakes, SettingError)

    def score(self, seen: Observation) -> Scores:
        nobody_in = np.ones(seen.population_reference.shape[:2], dtype=bool)
        sides = (marked(side, seen.in_reference) for side in self.sides)
        log_p = self.log_p(*(log_mean_exp(-seen.reference.loss, chosen) for chosen in sides))
        log_p_z = self.from_out(log_mean_exp(-seen.population_reference.loss, nobody_in))
        return self.judge(-seen.target.loss - log_p, -seen.population.loss - log_p_z)

    def score_all(self, lineup: Lineup) -> Scores:
        ours, others = lineup.log_means("loss", *self.sides), lineup.log_means_of_all("population", "loss")
        return np.stack(
            [
                self.judge(-loss_x - self.log_p(*log_p_x), -loss_z - self.from_out(log_p_z))
                for (loss_x, log_p_x), (loss_z, log_p_z) in zip(ours, others, strict=True)
            ]
        )

    def judge(self, log_x: Array, log_z: Array) -> Scores:
        """(N,) scores from log r_x (N, Q) and log r_z (Z, Q)."""
        return share_beaten(over_queries(log_x), over_queries(log_z), self.gamma)

    def log_p(self, *log_means: Array) -> Array:
        """(N, Q), log P(x): how likely the label is for a model of which nothing is known.

        Args:
            *log_means: (N, Q), log of its mean probability over the references on each of ``sides``.
        """
        return self.from_out(*log_means)

    def from_out(self, log_p_out: Array) -> Array:
        """(N, Q), log of the mean of P_out and a * P_out + 1 - a."""
        return log_mixture(((1 + self.a) / 2, log_p_out), ((1 - self.a) / 2, np.zeros_like(log_p_out)))


def share_beaten(log_x: Array, log_z: Array, gamma: float) -> Scores:
    """(N,), share of z with r_x / r_z >= gamma, plus less than 1/Z that orders equal shares by r_x.

    Args:
        log_x: (N,), log r_x.
        log_z: (Z,), log r_z.
        gamma: The threshold.
    """
    beaten = np.searchsorted(np.sort(log_z), log_x - math.log(gamma), side="right")
    scores: Scores = (beaten + within_step(log_x)) / len(log_z)
    return scores


def within_step(log_x: Array) -> Array:
    """(N,), strictly between 0 and 1 and rising with log r_x (N,): what orders those who beat equally many."""
    within: Array = (1 + log_x / (1 + np.abs(log_x))) / 2
    return within
