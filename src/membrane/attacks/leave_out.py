"""What all models but one say, for every one of them, from sums over all: subtraction that cannot go wrong.

Taking one model's part out of a sum is exact to rounding unless that part was nearly all of the sum: of squares when
one model is far from all others, of probabilities when one alone is sure. That one model, the farthest or the
largest, has its "all but me" computed directly beforehand. Whoever else is taken out leaves it in, so what remains is
never a small difference of large numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from membrane.attacks.references import Array, Moments, sure_or_not

Whose = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Sums:
    """Statistics of blocks of examples; every field but the number of models has the examples first."""

    n: int

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """One for all examples from one for each block of them."""
        names = [field.name for field in fields(cls) if field.name != "n"]
        return cls(parts[0].n, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class MomentsBut(_Sums):
    """Moments of n models on N examples and Q queries, less any one of them; n is 2 or more.

    Args:
        n: Models.
        pivot: (N, Q), about their mean; everything is counted from here, so that nothing cancels.
        offset: (N, Q), their mean less the pivot.
        squares: (N, Q), sum of squared deviations from the mean.
        farthest: (N, Q), the model farthest from the mean.
        pivot_rest: (N, Q), as ``pivot``, for all but the farthest; likewise the next two.
        offset_rest: (N, Q).
        squares_rest: (N, Q).
    """

    pivot: Array
    offset: Array
    squares: Array
    farthest: Whose
    pivot_rest: Array
    offset_rest: Array
    squares_rest: Array

    @staticmethod
    def of(values: Array) -> MomentsBut:
        """From (n, N, Q) values, which are overwritten."""
        n = len(values)
        pivot = values.mean(axis=0)
        centred = values - pivot
        offset = centred.mean(axis=0)
        centred -= offset
        squares = np.einsum("rnq,rnq->nq", centred, centred)
        farthest = np.abs(centred, out=centred).argmax(axis=0).astype(np.int32)[None]
        pivot_rest = _sum_but(farthest, values) / (n - 1)
        values -= pivot_rest
        offset_rest = _sum_but(farthest, values) / (n - 1)
        values -= offset_rest
        np.put_along_axis(values, farthest, 0.0, axis=0)
        squares_rest = np.einsum("rnq,rnq->nq", values, values)
        return MomentsBut(n, pivot, offset, squares, farthest[0], pivot_rest, offset_rest, squares_rest)

    def but(self, model: int, value: Array) -> Moments:
        """Moments of all but ``model``, which says ``value`` (N, Q)."""
        deviation = value - self.pivot - self.offset
        is_farthest = self.farthest == model
        left = self.n - 1
        pivot = np.where(is_farthest, self.pivot_rest, self.pivot)
        offset = np.where(is_farthest, self.offset_rest, self.offset - deviation / left)
        squares = np.where(is_farthest, self.squares_rest, self.squares - deviation**2 * (self.n / left))
        return _Left(np.full((len(value), 1), float(left)), pivot, offset, np.maximum(squares, 0.0))


def _sum_but(model: Whose, values: Array) -> Array:
    """(N, Q) sum over all models but one, whose values (1, N, Q) are set to 0."""
    np.put_along_axis(values, model, 0.0, axis=0)
    total: Array = values.sum(axis=0)
    return total


class _Left(Moments):
    """The same moments; their squares add up fast, and not to the same last bit in every order of the examples."""

    def total_squares(self) -> Array:
        total: Array = self.squares.sum(axis=0)
        return total


@dataclass(frozen=True)
class LogSumsBut(_Sums):
    """Log of the sum of probabilities of n models, or n pairs of them, less any one; n is 2 or more.

    Args:
        n: Models, or pairs.
        total: (N, Q), log of the sum over all.
        largest: (N, Q), the model with the largest.
        rest: (N, Q), log of the sum over all but that one.
        doubt: (N, Q), sum of one minus each, for sums so near to n that their logarithm has lost digits.
        least_sure: (N, Q), the model with the most doubt.
        doubt_rest: (N, Q), sum over all but that one.
    """

    total: Array
    largest: Whose
    rest: Array
    doubt: Array
    least_sure: Whose
    doubt_rest: Array

    @staticmethod
    def of(*values: Array) -> LogSumsBut:
        """From (n, N, Q) log-probabilities, 0 or less; two such arrays for pairs, which are left out together."""
        doubts = _doubt(values)
        doubt = doubts.sum(axis=0)
        least_sure = doubts.argmax(axis=0).astype(np.int32)[None]
        doubt_rest = _sum_but(least_sure, doubts)
        together = _together(values)
        largest = together.argmax(axis=0).astype(np.int32)[None]
        peak = np.take_along_axis(together, largest, axis=0)[0]
        np.put_along_axis(together, largest, -np.inf, axis=0)
        second = together.max(axis=0)
        together -= second
        rest = second + np.log(np.exp(together, out=together).sum(axis=0))
        total = np.logaddexp(rest, peak)
        return LogSumsBut(len(doubts), total, largest[0], rest, doubt, least_sure[0], doubt_rest)

    def mean_but(self, model: int, *values: Array) -> Array:
        """(N, Q), log of the mean over all but ``model``.

        Args:
            model: The one (or pair) left out.
            *values: (N, Q), its log-probabilities; two for a pair.
        """
        n = len(values) * (self.n - 1)
        # Beside the largest nobody has more than half of the sum, so the logarithm stays clear of 0.
        share = np.exp(np.minimum(_together(values) - self.total, -0.6))
        log_sum = np.where(self.largest == model, self.rest, self.total + np.log1p(-share))
        doubt = np.where(self.least_sure == model, self.doubt_rest, self.doubt - _doubt(values)) / n
        return sure_or_not(doubt, log_sum - np.log(n))


def _together(values: tuple[Array, ...]) -> Array:
    """Log of the sum of one or two probabilities, in an array of its own."""
    return values[0].copy() if len(values) == 1 else np.logaddexp(*values)


def _doubt(values: tuple[Array, ...]) -> Array:
    """One minus each of one or two probabilities, added up."""
    doubts: Array = -np.expm1(values[0])
    for other in values[1:]:
        doubts -= np.expm1(other)
    return doubts
