"""Midpoint: on which side of the middle between its IN and OUT references does the target stand, and how far?

Source: none. It is online LiRA (Carlini et al. 2022, arXiv:2112.03570) with every variance replaced by one constant:
the log-ratio of two Gaussians of equal spread is the distance from the midpoint of their means, times the gap between
the means; we leave the gap out, because three references a side estimate it badly. Strong with few references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.lineup import Lineup
from membrane.attacks.references import Moments
from membrane.core.values import Floats, Observation


@dataclass(frozen=True)
class Midpoint(Attack):
    """Target's rescaled logit minus the middle of its IN and OUT references' means, averaged over queries."""

    name: ClassVar[str] = "midpoint"
    source: ClassVar[str] = "no paper; online LiRA (Carlini et al. 2022, arXiv:2112.03570) without variances"
    signals: ClassVar[tuple[str, ...]] = ("rescaled_logit",)
    min_in_models: ClassVar[int] = 1
    min_out_models: ClassVar[int] = 1

    def score(self, seen: Observation) -> Scores:
        logit = seen.target.rescaled_logit
        inside, outside = (
            Moments.of(seen.reference.rescaled_logit, chosen) for chosen in (seen.in_reference, ~seen.in_reference)
        )
        return _distance(logit, inside, outside)

    def score_all(self, lineup: Lineup) -> Scores:
        targets = lineup.moments("rescaled_logit", "in", "out")
        return np.stack([_distance(logit, *groups) for logit, groups in targets])


def _distance(logit: Floats, inside: Moments, outside: Moments) -> Scores:
    return over_queries((inside.deviation(logit) + outside.deviation(logit)) / 2)
