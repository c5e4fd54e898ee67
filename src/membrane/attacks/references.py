"""Statistics over the reference models of each example, without ever copying the bank.

Every function walks over blocks of examples: float64 results from float32 signals, in the memory of one block and a few
(N, Q) arrays whatever R is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from membrane.core.values import Bools, Floats

Array = npt.NDArray[np.float64]
Variance = Literal["auto", "pooled", "per_example"]

MANY_MODELS = 32  # on a side; below it one variance for all examples is the better estimate


BLOCK = 1 << 18  # numbers of a block: 2 MiB once they are float64, so that it stays in a core's cache


def blocks(values: Floats) -> Iterator[slice]:
    """Slices of the examples of ``values`` (R, N, Q), of about ``BLOCK`` numbers each."""
    n_models, n, n_queries = values.shape
    step = max(1, BLOCK // max(1, n_models * n_queries))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def read_blocks(values: Floats) -> Iterator[tuple[slice, Array]]:
    """The same slices with what is there: (R, B, Q), float64, the caller's to overwrite."""
    for where in blocks(values):
        yield where, values[:, where].astype(np.float64)


@dataclass(frozen=True)
class Moments:
    """What one group of reference models (IN or OUT) says about each example.

    The mean is kept in two parts, so that a distance from it is exact to rounding even where all models agree to the
    sixth digit.

    Args:
        count: (N, 1), models in the group.
        pivot: (N, Q), about the mean.
        offset: (N, Q), the mean less the pivot.
        squares: (N, Q), sum of squared deviations from the mean.
    """

    count: Array
    pivot: Array
    offset: Array
    squares: Array

    @staticmethod
    def of(values: Floats, chosen: Bools) -> Moments:
        """Moments of ``values`` (R, N, Q) over the models that ``chosen`` (R, N) marks; one or more per example."""
        count = np.count_nonzero(chosen, axis=0).astype(np.float64)[:, None]
        pivot, offset, squares = (np.empty(values.shape[1:]) for _ in range(3))
        # Three passes over each block: differences of sums would cancel.
        for where, block in read_blocks(values):
            marked = chosen[:, where, None]
            pivot[where] = np.sum(block, axis=0, where=marked) / count[where]
            block -= pivot[where]
            block *= marked
            offset[where] = block.sum(axis=0) / count[where]
            block -= offset[where]
            block *= marked
            squares[where] = np.einsum("rnq,rnq->nq", block, block)
        return Moments(count, pivot, offset, squares)

    def deviation(self, value: Floats) -> Array:
        """(N, Q), how far ``value`` (N, Q) is above the mean."""
        above: Array = value - self.pivot - self.offset
        return above

    def std(self, per_example: bool, least: float) -> Array:
        """Standard deviation with n - 1 degrees of freedom, at least ``least``.

        Returns:
            (N, Q) if ``per_example``; else (1, Q), from the residuals of all examples about their *own* means.
            (The spread of examples among themselves does not belong in it.)
        """
        if per_example:
            return np.maximum(np.sqrt(self.squares / (self.count - 1)), least)
        pooled: Array = np.maximum(np.sqrt(self.total_squares() / (self.count - 1).sum()), least)
        return pooled[None]

    def total_squares(self) -> Array:
        """(Q,), over all examples."""
        # fsum rounds once, so the order of the examples changes nothing, not even the last bit.
        return np.array([math.fsum(query.tolist()) for query in self.squares.T])


def is_per_example(variance: Variance, *groups: Moments) -> bool:
    """Whether a variance setting means one standard deviation per example, given the models there are."""
    if variance == "auto":
        return all(group.count.min(initial=math.inf) >= MANY_MODELS for group in groups)
    return variance == "per_example"


def log_mean_exp(values: Floats, chosen: Bools) -> Array:
    """(N, Q), log of the mean of exp(``values``) over the models that ``chosen`` marks.

    To rounding of the result, from probabilities that underflow to ones that all round to 1, where it is about the
    mean of the values: RMIA compares such numbers with each other.

    Args:
        values: (R, N, Q), log-probabilities, 0 or less.
        chosen: (R, N), one model or more per example.
    """
    mean = np.empty(values.shape[1:])
    for where, block in read_blocks(values):
        marked = np.broadcast_to(chosen[:, where, None], block.shape)
        n = np.count_nonzero(chosen[:, where], axis=0)[:, None]
        block[~marked] = 0.0
        doubt = -np.expm1(block).sum(axis=0) / n
        block[~marked] = -np.inf
        peak = block.max(axis=0)
        block -= peak
        mean[where] = sure_or_not(doubt, peak + np.log(np.exp(block, out=block).sum(axis=0) / n))
    return mean


def sure_or_not(doubt: Array, log_p: Array) -> Array:
    """Log of a probability from its complement where that is the smaller, where a logarithm of it has lost digits.

    Args:
        doubt: One minus the probability, to rounding.
        log_p: Log of the probability, to rounding of 1.
    """
    exact: Array = np.where(doubt < 0.5, np.log1p(-np.minimum(doubt, 0.5)), log_p)
    return exact


def log_mixture(*parts: tuple[float, Array]) -> Array:
    """Log of a weighted mean of probabilities, to rounding of the result, as in ``log_mean_exp``.

    Args:
        *parts: Weight, and log-probabilities, 0 or less; the weights add up to 1.
    """
    kept = [(weight, log_p) for weight, log_p in parts if weight > 0]
    doubt = -np.sum([weight * np.expm1(log_p) for weight, log_p in kept], axis=0)
    log_p: Array = np.logaddexp.reduce([math.log(weight) + log_p for weight, log_p in kept])
    return sure_or_not(doubt, log_p)
