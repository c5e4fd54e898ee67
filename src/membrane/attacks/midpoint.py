"""Midpoint: on which side of the middle between its IN and OUT references does the target stand, and how far?

Source: none. It is online LiRA (Carlini et al. 2022, arXiv:2112.03570) with every variance replaced by one constant:
the log-ratio of two Gaussians of equal spread is the distance from the midpoint of their means, times the gap between
the means; we leave the gap out, because three references a side estimate it badly. Strong with few references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Scores, over_queries
from membrane.attacks.from_moments import FromMoments
from membrane.attacks.references import Moments
from membrane.core.values import Floats


@dataclass(frozen=True)
class Midpoint(FromMoments):
    """Target's rescaled logit minus the middle of its IN and OUT references' means, averaged over queries."""

    name: ClassVar[str] = "midpoint"
    source: ClassVar[str] = "no paper; online LiRA (Carlini et al. 2022, arXiv:2112.03570) without variances"
    min_in_models: ClassVar[int] = 1
    min_out_models: ClassVar[int] = 1

    def compared(self, logit: Floats, *groups: Moments) -> Scores:
        inside, outside = groups
        return over_queries((inside.deviation(logit) + outside.deviation(logit)) / 2)
