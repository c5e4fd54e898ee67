"""Modified entropy: low where the target is sure *and right*, high where it is sure and wrong.

Source: Song & Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", arXiv:2003.10595:
Mentr = -(1 - p_y) log p_y - sum over other classes of p log(1 - p). Where we differ: one score for all classes here
(their threshold for each class is the attack 'class_thresholds'), computed from logits without clipping (their code
clips probabilities at 1e-30), and minus its logarithm: the same order, as in 'entropy'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.entropy import minus_log
from membrane.core.values import Observation


@dataclass(frozen=True)
class ModifiedEntropy(Attack):
    """Minus the log of the modified entropy, averaged over queries in nats; needs no reference model."""

    name: ClassVar[str] = "modified_entropy"
    source: ClassVar[str] = "Song & Mittal 2021, arXiv:2003.10595"
    signals: ClassVar[tuple[str, ...]] = ("modified_entropy",)

    def score(self, seen: Observation) -> Scores:
        return minus_log(seen.target.modified_entropy)
