"""Loss threshold: the oldest and cheapest attack, members have lower loss.

Source: Yeom et al. 2018, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
arXiv:1709.01604, the attack with a threshold on the loss. The paper fixes the threshold at the mean training loss;
we return the loss itself (negated), so that every threshold can be read from one ROC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.core.values import Observation


@dataclass(frozen=True)
class LossThreshold(Attack):
    """Minus the target's cross-entropy, nats, averaged over queries; needs no reference model."""

    name: ClassVar[str] = "loss"
    source: ClassVar[str] = "Yeom et al. 2018, arXiv:1709.01604"
    signals: ClassVar[tuple[str, ...]] = ("loss",)

    def score(self, seen: Observation) -> Scores:
        return -over_queries(seen.target.loss)
