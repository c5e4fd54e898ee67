"""Statistics over the reference models of each example, without ever copying the bank.

Every function walks over the models one by one: float64 results from float32 signals, in the memory of a few
(N, Q) arrays whatever R is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from membrane.core.values import Bools, Floats

Array = npt.NDArray[np.float64]
Variance = Literal["auto", "pooled", "per_example"]

MANY_MODELS = 32  # on a side; below it one variance for all examples is the better estimate


@dataclass(frozen=True)
class Moments:
    """What one group of reference models (IN or OUT) says about each example.

    Args:
        count: (N, 1), models in the group.
        mean: (N, Q).
        squares: (N, Q), sum of squared deviations from that mean.
    """

    count: Array
    mean: Array
    squares: Array

    @staticmethod
    def of(values: Floats, chosen: Bools) -> Moments:
        """Moments of ``values`` (R, N, Q) over the models that ``chosen`` (R, N) marks; one or more per example."""
        count = np.count_nonzero(chosen, axis=0).astype(np.float64)[:, None]
        mean, squares = np.zeros(values.shape[1:]), np.zeros(values.shape[1:])
        for row, marked in zip(values, chosen, strict=True):
            mean += np.where(marked[:, None], row, 0.0)
        mean /= count
        for row, marked in zip(values, chosen, strict=True):  # a second pass: differences of sums would cancel
            squares += np.where(marked[:, None], row - mean, 0.0) ** 2
        return Moments(count, mean, squares)

    def std(self, per_example: bool, least: float) -> Array:
        """Standard deviation with n - 1 degrees of freedom, at least ``least``.

        Returns:
            (N, Q) if ``per_example``; else (1, Q), from the residuals of all examples about their *own* means.
            (The spread of examples among themselves does not belong in it.)
        """
        if per_example:
            return np.maximum(np.sqrt(self.squares / (self.count - 1)), least)
        # fsum rounds once, so the order of the examples changes nothing, not even the last bit.
        squares = np.array([math.fsum(query.tolist()) for query in self.squares.T])
        pooled: Array = np.maximum(np.sqrt(squares / (self.count - 1).sum()), least)
        return pooled[None]


def is_per_example(variance: Variance, *groups: Moments) -> bool:
    """Whether a variance setting means one standard deviation per example, given the models there are."""
    if variance == "auto":
        return all(group.count.min(initial=math.inf) >= MANY_MODELS for group in groups)
    return variance == "per_example"


def log_mean_exp(values: Floats, chosen: Bools) -> Array:
    """(N, Q), log of the mean of exp(``values``) over the models that ``chosen`` marks; nothing underflows.

    Args:
        values: (R, N, Q), log-probabilities.
        chosen: (R, N), one model or more per example.
    """
    peak = np.full(values.shape[1:], -np.inf)
    for row, marked in zip(values, chosen, strict=True):
        np.maximum(peak, np.where(marked[:, None], row, -np.inf), out=peak)
    total = np.zeros_like(peak)
    for row, marked in zip(values, chosen, strict=True):
        total += np.exp(np.where(marked[:, None], row - peak, -np.inf))
    mean: Array = peak + np.log(total / np.count_nonzero(chosen, axis=0)[:, None])
    return mean
