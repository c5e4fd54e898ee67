"""Online BASE: how much likelier is x's label to the target than to models on average, half of which saw x?

Source: Lassila et al. 2025, "Practical Bayes-Optimal Membership Inference Attacks", arXiv:2505.24089, BASE, online:
-loss minus the log of the mean of exp(-loss) over all shadow models. Where we differ: no temperature, since signals
hold no logits (the authors' code has none either; LeakPro's version divides logits by 2); we return the score itself,
their code its sigmoid, which is the same order; several queries are averaged. It is log r_x of online RMIA: with as
many IN as OUT references both order the examples of one target alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.lineup import Lineup
from membrane.attacks.references import log_mean_exp
from membrane.core.values import Observation


@dataclass(frozen=True)
class BASE(Attack):
    """Log-ratio, nats, of the label's probability under the target to its mean over all references, IN and OUT."""

    name: ClassVar[str] = "base"
    source: ClassVar[str] = "Lassila et al. 2025, arXiv:2505.24089 (BASE, online)"
    signals: ClassVar[tuple[str, ...]] = ("loss",)
    min_in_models: ClassVar[int] = 1
    min_out_models: ClassVar[int] = 1

    def score(self, seen: Observation) -> Scores:
        everyone = np.ones_like(seen.in_reference)
        return over_queries(-seen.target.loss - log_mean_exp(-seen.reference.loss, everyone))

    def score_all(self, lineup: Lineup) -> Scores:
        return np.stack([over_queries(-loss - log_p) for loss, log_p in lineup.log_means_of_all("pool", "loss")])
