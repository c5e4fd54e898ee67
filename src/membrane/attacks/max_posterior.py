"""Largest posterior: how sure is the target of whatever it predicts, right or wrong?

Source: Salem et al. 2019, "ML-Leaks", arXiv:1806.01246, adversary 3: a threshold on the largest posterior, no shadow
model, nothing trained, the label not read. Theirs is a probability; ours is its logarithm, which orders alike and does
not round to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.core.values import Observation
from membrane.readings import Posteriors, Reading


@dataclass(frozen=True)
class MaxPosterior(Attack):
    """Log of the largest probability that the target gives, 0 at most."""

    name: ClassVar[str] = "max_posterior"
    source: ClassVar[str] = "Salem et al. 2019, arXiv:1806.01246 (adversary 3)"
    examples_apart: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Posteriors(3),)  # as ML-Leaks reads, of which the first serves

    def score(self, seen: Observation) -> Scores:
        scores: Scores = seen.target[Posteriors(3).key][:, 0].astype(np.float64)
        return scores
