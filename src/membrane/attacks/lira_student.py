"""LiRA for few references: every example has a variance of its own, held together by what all examples show.

Source: ours, from textbook parts. The likelihood ratio is that of online LiRA (Carlini et al. 2022, arXiv:2112.03570).
Each Gaussian is replaced by the posterior predictive under a normal-inverse-gamma prior, a Student t (Gelman et al.
2013, "Bayesian Data Analysis", section 3.3), with a flat prior on the mean. The prior of the variances, a scaled
inverse chi-square, is fitted to all examples by the moments of their log variances (Smyth 2004, "Linear Models and
Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments", section 6.2), IN and OUT each
on their own. The idea of normal-inverse-gamma LiRA is that of BaVarIA (Brännvall 2026, arXiv:2603.11799); its prior's
settings were not at hand, so this is not their attack and proves nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from membrane.attacks.attack import Scores, over_queries
from membrane.attacks.from_moments import FromMoments
from membrane.attacks.references import Array, Moments
from membrane.core.errors import SettingError, raise_all
from membrane.core.values import Floats

Predictive = Literal["student", "normal"]
MOST_MODELS = 1e4  # a prior worth more than so many models holds all variances equal


@dataclass(frozen=True)
class StudentLiRA(FromMoments):
    """Log-likelihood ratio, nats, under predictive distributions whose variances are shrunk towards each other.

    Between LiRA's pooled and its per-example variance, and chosen by the data: where examples differ little in
    spread it is the one, with many references the other. A logit far from what both sides say speaks for neither
    under Student's t, so a surer target can have a lower score.

    Args:
        predictive: "student": the posterior predictive; "normal": a Gaussian with the posterior's mean variance,
            which trusts far logits as LiRA does.
        min_std: Floor of the standard deviations, in logit units.

    Raises:
        SettingError: If ``predictive`` is neither, or ``min_std`` is not above 0.
    """

    name: ClassVar[str] = "lira_student"
    source: ClassVar[str] = "ours; Carlini et al. 2022, arXiv:2112.03570, with the prior of Smyth 2004"
    min_in_models: ClassVar[int] = 2
    min_out_models: ClassVar[int] = 2

    predictive: Predictive = "student"
    min_std: float = 1e-6

    def __post_init__(self) -> None:
        mistakes = []
        if self.predictive not in get_args(Predictive):
            mistakes.append(f"predictive is {self.predictive!r}; it must be one of {', '.join(get_args(Predictive))}.")
        if not 0 < self.min_std < np.inf:  # written this way round so that NaN is refused too
            mistakes.append(f"min_std is {self.min_std}; it must be above 0 (logit units).")
        raise_all(mistakes, SettingError)

    def compared(self, logit: Floats, *groups: Moments) -> Scores:
        inside, outside = (self._log_density(logit, one) for one in groups)
        return over_queries(inside - outside)

    def _log_density(self, logit: Floats, group: Moments) -> Array:
        """(N, Q), of the predictive distribution, without the constant that cancels in a ratio."""
        count = group.count if np.ptp(group.count) else group.count[:1]  # (N, 1), or (1, 1) if equal for all
        freedom = count - 1
        variance = np.maximum(group.squares / freedom, self.min_std**2)
        prior_freedom, prior_variance = fitted_prior(variance, freedom)  # (1, Q)
        left = prior_freedom + freedom
        shrunk = (prior_freedom * prior_variance + freedom * variance) / left
        scale = np.sqrt(shrunk * (1 + 1 / count))  # a new value spreads about an uncertain mean
        z = group.deviation(logit) / scale
        density: Array
        if self.predictive == "normal":
            density = -np.log(scale) - z**2 / 2
            return density
        constant = gammaln((left + 1) / 2) - gammaln(left / 2) - np.log(left) / 2
        density = constant - np.log(scale) - (left + 1) / 2 * np.log1p(z**2 / left)
        return density


def fitted_prior(variance: Array, freedom: Array) -> tuple[Array, Array]:
    """Degrees of freedom and scale of the scaled inverse chi-square that variances were drawn from, each (1, Q).

    Args:
        variance: (N, Q) sample variances, above 0.
        freedom: (N, 1) their degrees of freedom, 1 or more; (1, 1) if equal for all.
    """
    log_variance = np.log(variance) - digamma(freedom / 2) + np.log(freedom / 2)  # of the true one, without bias
    mean = ordered_mean(log_variance)
    spread = ordered_mean((log_variance - mean) ** 2) * len(variance) / max(len(variance) - 1, 1)
    # What spreads more than samples of equal variances would is the prior's.
    excess = spread - ordered_mean(polygamma(1, freedom / 2))
    half = inverse_trigamma(np.maximum(excess, 2 / MOST_MODELS))
    return 2 * half, np.exp(mean + digamma(half) - np.log(half))


def ordered_mean(values: Array) -> Array:
    """(1, Q) means of (N, Q) values, to the last bit the same in whatever order the examples are.

    Added up as whole numbers, to 1e-18 of the largest sum that there could be.
    """
    _, exponent = np.frexp(np.abs(values).max() * len(values))
    scale = np.ldexp(1.0, 61 - int(exponent))
    mean: Array = np.rint(values * scale).astype(np.int64).sum(axis=0, keepdims=True) / (scale * len(values))
    return mean


def inverse_trigamma(y: Array) -> Array:
    """X > 0 with trigamma(x) = ``y`` > 0, by Newton steps on 1 / trigamma, which cannot overshoot (Smyth 2004)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        slope = polygamma(1, x)
        step = slope * (1 - slope / y) / polygamma(2, x)
        x = x + step
        if (np.abs(step) <= 1e-12 * x).all():
            break
    return x
