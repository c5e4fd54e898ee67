"""Online LiRA: do models that trained on x, or models that did not, better explain what the target says about it?

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", arXiv:2112.03570, online variant.
Where we differ: the location is the mean (their code takes the median); the shared variance comes from residuals
about each example's own mean, with n - 1 degrees of freedom, and IN and OUT each have their own (their code takes one
standard deviation over all values of all examples, so that easy and hard examples widen it, and uses the one of IN for
both); several queries count as independent and are averaged, as in their code (the paper: a multivariate Gaussian).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from membrane.attacks.attack import Scores, over_queries
from membrane.attacks.from_moments import FromMoments
from membrane.attacks.references import Array, Moments, Variance, is_per_example
from membrane.core.errors import SettingError, raise_all
from membrane.core.values import Floats


def check_spread(variance: str, min_std: float) -> None:
    """Refuse settings that describe no standard deviation.

    Raises:
        SettingError: Listing what is wrong with either.
    """
    mistakes = []
    if variance not in get_args(Variance):
        mistakes.append(f"variance is {variance!r}; it must be one of {', '.join(get_args(Variance))}.")
    if not 0 < min_std < np.inf:  # written this way round so that NaN is refused too
        mistakes.append(f"min_std is {min_std}; it must be above 0 (logit units).")
    raise_all(mistakes, SettingError)


def log_density(deviation: Array, std: Array) -> Array:
    """Log of the Gaussian density at a distance from the mean, without the constant that cancels in a ratio."""
    density: Array = -np.log(std) - (deviation / std) ** 2 / 2
    return density


@dataclass(frozen=True)
class LiRA(FromMoments):
    """Log-likelihood ratio, nats, of the target's rescaled logit under the IN and the OUT Gaussian of each example.

    Args:
        variance: "pooled": one variance for all examples, steady with few references; "per_example": one for each;
            "auto": per example from 32 IN and 32 OUT references on, pooled below.
        min_std: Floor of the standard deviations, in logit units; keeps agreeing models from dividing by zero.

    Raises:
        SettingError: If ``variance`` is not one of these, or ``min_std`` is not above 0.
    """

    name: ClassVar[str] = "lira"
    source: ClassVar[str] = "Carlini et al. 2022, arXiv:2112.03570 (online)"
    min_in_models: ClassVar[int] = 2
    min_out_models: ClassVar[int] = 2

    variance: Variance = "auto"
    min_std: float = 1e-6

    def __post_init__(self) -> None:
        check_spread(self.variance, self.min_std)

    def compared(self, logit: Floats, *groups: Moments) -> Scores:
        per_example = is_per_example(self.variance, *groups)
        inside, outside = (log_density(one.deviation(logit), one.std(per_example, self.min_std)) for one in groups)
        return over_queries(inside - outside)
