"""Attack-P: which share of the population is the target less sure of than of x?

Source: Ye et al. 2022, "Enhanced Membership Inference Attacks against Machine Learning Models", arXiv:2111.09679,
Attack-P: one threshold for a model, the alpha-quantile of its losses on a population that it did not train on. We
return one minus the smallest alpha at which x is accused, so that every threshold can be read from one ROC. Where we
differ: several queries are averaged as rescaled logits before z is compared; equal shares are ordered by the rescaled
logit itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.rmia_offline import share_beaten
from membrane.core.values import Observation


@dataclass(frozen=True)
class Population(Attack):
    """Share of the population whose label the target gives at most the probability that it gives x's.

    For one target the order of the scores is that of the loss, with one query. One minus the score estimates the
    false-positive rate of accusing x, so that, unlike losses, scores of different targets can be compared.
    """

    name: ClassVar[str] = "population"
    source: ClassVar[str] = "Ye et al. 2022, arXiv:2111.09679 (Attack-P)"
    signals: ClassVar[tuple[str, ...]] = ("rescaled_logit",)  # rises with p_y, and does not round to 1
    min_population: ClassVar[int] = 100  # steps of one percent

    def score(self, seen: Observation) -> Scores:
        logit_x, logit_z = over_queries(seen.target.rescaled_logit), over_queries(seen.population.rescaled_logit)
        return share_beaten(logit_x, logit_z, gamma=1.0)
