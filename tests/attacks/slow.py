"""Every attack once more, the slow way: loops over examples, queries and references, textbook formulas, float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from membrane.core.values import Floats, Observation

Array = npt.NDArray[np.float64]
Slow = Callable[[Observation], Array]


def sides(values: Floats, seen: Observation, n: int, q: int) -> tuple[list[float], list[float]]:
    """Values (R, N, Q) of the IN and of the OUT references on query ``q`` of example ``n``."""
    inside = [float(values[r, n, q]) for r in range(len(values)) if seen.in_reference[r, n]]
    outside = [float(values[r, n, q]) for r in range(len(values)) if not seen.in_reference[r, n]]
    return inside, outside


def mean_over_queries(seen: Observation, one: Callable[[int, int], float]) -> Array:
    n_examples, n_queries = seen.target.shape
    return np.array([sum(one(n, q) for q in range(n_queries)) / n_queries for n in range(n_examples)])


def loss(seen: Observation) -> Array:
    return mean_over_queries(seen, lambda n, q: -float(seen.target.loss[n, q]))


def midpoint(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        inside, outside = sides(seen.reference.rescaled_logit, seen, n, q)
        return seen.target.rescaled_logit[n, q] - (np.mean(inside) + np.mean(outside)) / 2

    return mean_over_queries(seen, one)


def share(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        _, outside = sides(seen.reference.loss, seen, n, q)
        return sum(seen.target.loss[n, q] <= other for other in outside) / len(outside)

    return mean_over_queries(seen, one)


def interpolated_share(seen: Observation) -> Array:
    def one(n: int, q: int) -> float:
        _, outside = sides(seen.reference.rescaled_logit, seen, n, q)
        outside.sort()
        logit, k = seen.target.rescaled_logit[n, q], len(outside)
        if logit < outside[0]:
            position = math.exp(logit - outside[0]) / (k + 1)
        elif logit >= outside[-1]:
            position = 1 - math.exp(outside[-1] - logit) / (k + 1)
        else:
            position = np.interp(logit, outside, np.arange(1, k + 1) / (k + 1))
        return math.log(position / (1 - position))

    return mean_over_queries(seen, one)


def stds(seen: Observation, pooled: bool, side: int) -> Callable[[int, int], float]:
    """Standard deviation of one side (0 IN, 1 OUT) by example and query."""
    n_examples, n_queries = seen.target.shape
    values = [
        [sides(seen.reference.rescaled_logit, seen, n, q)[side] for q in range(n_queries)] for n in range(n_examples)
    ]
    if not pooled:
        return lambda n, q: float(np.std(values[n][q], ddof=1))

    def shared(q: int) -> float:
        residuals = [value - np.mean(of_example[q]) for of_example in values for value in of_example[q]]
        return math.sqrt(sum(residual**2 for residual in residuals) / (len(residuals) - n_examples))

    by_query = [shared(q) for q in range(n_queries)]
    return lambda n, q: by_query[q]


def lira(pooled: bool) -> Slow:
    def slow(seen: Observation) -> Array:
        std_in, std_out = stds(seen, pooled, 0), stds(seen, pooled, 1)

        def one(n: int, q: int) -> float:
            inside, outside = sides(seen.reference.rescaled_logit, seen, n, q)
            logit = seen.target.rescaled_logit[n, q]
            as_member = norm.logpdf(logit, np.mean(inside), std_in(n, q))
            return float(as_member - norm.logpdf(logit, np.mean(outside), std_out(n, q)))

        return mean_over_queries(seen, one)

    return slow


def lira_offline(pooled: bool) -> Slow:
    def slow(seen: Observation) -> Array:
        std_out = stds(seen, pooled, 1)

        def one(n: int, q: int) -> float:
            _, outside = sides(seen.reference.rescaled_logit, seen, n, q)
            return (seen.target.rescaled_logit[n, q] - np.mean(outside)) / std_out(n, q)

        return mean_over_queries(seen, one)

    return slow


def probability_ratios(seen: Observation, online: bool, a: float) -> tuple[Array, Array]:
    """Geometric means over queries of P(. | target) / P(.), of the examples (N,) and of the population (Z,)."""

    def from_out(probabilities: list[float]) -> float:
        return ((1 + a) * float(np.mean(probabilities)) + 1 - a) / 2

    def of_example(n: int, q: int) -> float:
        inside, outside = sides(np.exp(-seen.reference.loss), seen, n, q)
        p = (np.mean(inside) + np.mean(outside)) / 2 if online else from_out(outside)
        return math.log(math.exp(-seen.target.loss[n, q]) / p)

    def of_stranger(z: int) -> Iterator[float]:
        for q in range(seen.population.shape[1]):
            p = from_out(np.exp(-seen.population_reference.loss[:, z, q]).tolist())
            yield math.log(math.exp(-seen.population.loss[z, q]) / p)

    strangers = [np.exp(np.mean(list(of_stranger(z)))) for z in range(len(seen.population.loss))]
    return np.exp(mean_over_queries(seen, of_example)), np.array(strangers)


def rmia(online: bool, gamma: float = 1.0, a: float = 0.3) -> Slow:
    def slow(seen: Observation) -> Array:
        ratios, strangers = probability_ratios(seen, online, a)
        scores = []
        for ratio in ratios:
            beaten = sum(ratio / stranger >= gamma for stranger in strangers)
            log_ratio = math.log(ratio)
            scores.append((beaten + (1 + log_ratio / (1 + abs(log_ratio))) / 2) / len(strangers))
        return np.array(scores)

    return slow
