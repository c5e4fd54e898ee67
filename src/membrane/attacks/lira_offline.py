"""Offline LiRA: is the target model surer about x than models that never saw x?

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", arXiv:2112.03570, offline variant,
one-sided as in the paper (their code scores minus the log-density, which also calls examples members that the target
is *less* sure of). We return z where the paper returns Phi(z): the same order, but Phi rounds to 1 for the surest
members. Mean, variances and queries as in online LiRA here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Scores, over_queries
from membrane.attacks.from_moments import FromMoments
from membrane.attacks.lineup import Side
from membrane.attacks.lira import check_spread
from membrane.attacks.references import Moments, Variance, is_per_example
from membrane.core.values import Floats


@dataclass(frozen=True)
class OfflineLiRA(FromMoments):
    """How many standard deviations the target's rescaled logit sits above the OUT references' mean.

    Args:
        variance: "pooled": one variance for all examples, steady with few references; "per_example": one for each;
            "auto": per example from 32 OUT references on, pooled below.
        min_std: Floor of the standard deviations, in logit units; keeps agreeing models from dividing by zero.

    Raises:
        SettingError: If ``variance`` is not one of these, or ``min_std`` is not above 0.
    """

    name: ClassVar[str] = "lira_offline"
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2112.03570 (offline)"
    sides: ClassVar[tuple[Side, ...]] = ("out",)
    min_out_models: ClassVar[int] = 2

    variance: Variance = "auto"
    min_std: float = 1e-6

    def __post_init__(self) -> None:
        check_spread(self.variance, self.min_std)

    def compared(self, logit: Floats, *groups: Moments) -> Scores:
        (outside,) = groups
        std = outside.std(is_per_example(self.variance, outside), self.min_std)
        return over_queries(outside.deviation(logit) / std)
