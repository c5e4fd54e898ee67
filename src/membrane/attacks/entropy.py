"""Entropy: the target spreads its prediction less on members. The label is not looked at.

Source: Salem et al. 2019, "ML-Leaks", arXiv:1806.01246; with a threshold for each class in Song & Mittal 2021,
"Systematic Evaluation of Privacy Risks of Machine Learning Models", arXiv:2003.10595. We return minus the logarithm of
the entropy: the same order, but what tells the surest members apart survives when something is subtracted from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.core.values import Floats, Observation

LEAST = float(np.finfo(np.float32).smallest_subnormal)  # nats; signals are stored as float32, and below it as 0


@dataclass(frozen=True)
class Entropy(Attack):
    """Minus the log of the prediction's entropy, averaged over queries in nats; needs no label and no reference model.

    Weak against models that are sure of everything, and blind to canaries: a model that is sure of the right label of
    a mislabelled example looks as sure as one that learnt the wrong one by heart.
    """

    name: ClassVar[str] = "entropy"
    source: ClassVar[str] = "Salem et al. 2019, arXiv:1806.01246; Song & Mittal 2021, arXiv:2003.10595"
    signals: ClassVar[tuple[str, ...]] = ("entropy",)

    def score(self, seen: Observation) -> Scores:
        return minus_log(seen.target.entropy)


def minus_log(entropy: Floats) -> Scores:
    """(N,), minus the log of the mean over queries of ``entropy`` (N, Q) in nats, which may be 0."""
    scores: Scores = -np.log(np.maximum(over_queries(entropy), LEAST))
    return scores
