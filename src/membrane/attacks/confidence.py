"""Confidence: members get a higher probability of their label.

Source: Salem et al. 2019, "ML-Leaks", arXiv:1806.01246, and Song & Mittal 2021, "Systematic Evaluation of Privacy Risks
of Machine Learning Models", arXiv:2003.10595, which thresholds the probability of the label, as we do (the former: the
largest probability). We return its log-odds: the same order, but a probability rounds to 1 for the surest members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.core.values import Observation


@dataclass(frozen=True)
class Confidence(Attack):
    """Log-odds of the label's probability, averaged over queries as a probability; needs no reference model.

    With one query it orders examples as the loss does. With several it does not: one query that the target gets badly
    wrong decides the mean loss and hardly moves the mean probability.
    """

    name: ClassVar[str] = "confidence"
    source: ClassVar[str] = "Song & Mittal 2021, arXiv:2003.10595 (confidence)"
    signals: ClassVar[tuple[str, ...]] = ("rescaled_logit",)  # log-odds of p_y, query by query

    def score(self, seen: Observation) -> Scores:
        logit = seen.target.rescaled_logit.astype(np.float64)
        log_p, log_not_p = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
        odds: Scores = np.logaddexp.reduce(log_p, axis=1) - np.logaddexp.reduce(log_not_p, axis=1)
        return odds
