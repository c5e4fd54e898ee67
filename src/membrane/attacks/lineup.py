"""A line-up: the signals of a whole bank of models, of which each plays target once without its partner.

One value for every attack's ``score_all``. Signals may be float32 and memory-mapped: they are read block by block and
row by row, and the pages that were read are given back, so nothing here needs memory in proportion to the bank.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from membrane.attacks.leave_out import LogSumsBut, MomentsBut
from membrane.attacks.references import Array, Moments, read_blocks
from membrane.core.errors import DataError, raise_all
from membrane.core.values import SIGNAL_KINDS, Bools, Floats, Ints, Observation, Signals
from membrane.data.membership import references_each, without_pair

Side = Literal["in", "out"]  # references that trained on an example, or that did not
Sums = TypeVar("Sums", MomentsBut, LogSumsBut)


@dataclass(frozen=True, eq=False)
class Lineup:
    """R models, complementary pairs 2k and 2k+1, that each play target against all others but their partner.

    Args:
        pool: (R, N, Q) signals on the audited examples.
        membership: (R, N) bool; a row counts as known where its model is a reference, never where it is the target.
        labels: (N,) int64.
        population: (R, Z, Q) signals on examples in nobody's training set; Z may be 0.

    Raises:
        DataError: If shapes do not fit, or rows 2k and 2k+1 of ``membership`` are not complements.
    """

    pool: Signals
    membership: Bools
    labels: Ints
    population: Signals

    def __post_init__(self) -> None:
        n_models, n, n_queries = self.pool.shape
        expected = {
            "membership": (self.membership.shape, (n_models, n)),
            "labels": (self.labels.shape, (n,)),
            "population": (self.population.shape[::2], (n_models, n_queries)),
        }
        raise_all(
            (f"{name} has shape {got}; with these models it must be {want}." for name, (got, want) in expected.items()
             if got != want),
            DataError,
        )  # fmt: skip
        if n_models % 2 or (self.membership[::2] == self.membership[1::2]).any():
            raise DataError("models 2k and 2k+1 do not train on complementary halves; attack them one by one.")

    @property
    def n_models(self) -> int:
        """R."""
        return len(self.membership)

    @property
    def n_references(self) -> int:
        """IN references of every example, and as many OUT ones."""
        return references_each(self.n_models)

    def observe(
        self,
        target: int,
        kinds: tuple[str, ...] = SIGNAL_KINDS,
        examples: slice = slice(None),
        references: bool = True,
    ) -> Observation:
        """What an attacker sees of model ``target``; references are copied, the target is not.

        Args:
            target: Row of the model under attack.
            kinds: Signals and readings that are wanted; other signals are NaN and take no memory, other readings are
                left out.
            examples: Part of the pool that is wanted.
            references: Whether references are wanted at all; otherwise there are none.
        """
        rows = without_pair(target, self.n_models) if references else np.zeros(0, dtype=np.int64)
        pool = self.pool.map(lambda values: values[:, examples])
        return Observation(
            target=_only(pool, kinds, target),
            reference=_only(pool, kinds, rows),
            in_reference=self.membership[rows][:, examples],
            labels=self.labels[examples],
            population=_only(self.population, kinds, target),
            population_reference=_only(self.population, kinds, rows),
        )

    def _place(self, place: str) -> Signals:
        return self.pool if place == "pool" else self.population

    @functools.cached_property
    def _finite(self) -> dict[tuple[str, str], bool]:
        return {}

    def is_finite(self, place: str, kind: str) -> bool:
        """Whether a signal of the pool or of the population holds neither NaN nor infinity; looked at once."""
        if (place, kind) not in self._finite:
            values = self._place(place)[kind]
            finite = True
            for row in values:
                finite = finite and bool(np.isfinite(row).all())
                give_back(values)
            self._finite[place, kind] = finite
        return self._finite[place, kind]

    def give_back(self, kinds: tuple[str, ...]) -> None:
        """Let go of the pages of memory-mapped signals that were read."""
        for kind in kinds:
            give_back(self.pool[kind])
            give_back(self.population[kind])

    def moments(self, kind: str, *sides: Side) -> Iterator[tuple[Array, list[Moments]]]:
        """For each target in turn: its signal (N, Q), and the moments of its references on each of the sides."""
        values = self.pool[kind]
        sums = self._sums(values, sides, MomentsBut)
        for pair, value, said in self._targets(values, sides):
            yield value, [one.but(pair, left_out) for one, left_out in zip(sums, said, strict=True)]

    def log_means(self, kind: str, *sides: Side) -> Iterator[tuple[Array, list[Array]]]:
        """For each target: its signal (N, Q), and the log of the mean of exp(-signal) over references of each side."""
        values = self.pool[kind]
        sums = self._sums(values, sides, LogSumsBut, sign=-1)
        for pair, value, said in self._targets(values, sides):
            yield value, [one.mean_but(pair, -left_out) for one, left_out in zip(sums, said, strict=True)]

    def log_means_of_all(self, place: str, kind: str) -> Iterator[tuple[Array, Array]]:
        """For each target: its signal (N, Q) or (Z, Q), and the log of the mean of exp(-signal) over all references.

        Args:
            place: "pool" or "population".
            kind: Of signal.
        """
        values = self._place(place)[kind]
        parts = []
        for _, block in read_blocks(values):
            parts.append(LogSumsBut.of(-block[::2], -block[1::2]))
            give_back(values)
        sums = LogSumsBut.concatenate(parts)
        for target, row in enumerate(values):
            value, partner = row.astype(np.float64), values[target ^ 1].astype(np.float64)
            yield value, sums.mean_but(target // 2, -value, -partner)
            give_back(values)

    def _sums(self, values: Floats, sides: tuple[Side, ...], kind: type[Sums], sign: int = 1) -> list[Sums]:
        """Sums over what the IN (OUT) model of each pair says, in which a pair counts as one model."""
        parts: list[list[Sums]] = [[] for _ in sides]
        for where, block in read_blocks(values):
            give_back(values)
            is_first = self.membership[::2, where, None]
            for part, side in zip(parts, sides, strict=True):
                part.append(kind.of(sign * _side(side, is_first, block[::2], block[1::2])))
        return [kind.concatenate(part) for part in parts]

    def _targets(self, values: Floats, sides: tuple[Side, ...]) -> Iterator[tuple[int, Array, list[Array]]]:
        """For each target: its pair, its values (N, Q), and what the pair's IN (OUT) model says, likewise."""
        for pair in range(self.n_models // 2):
            both = [values[2 * pair + i].astype(np.float64) for i in (0, 1)]
            is_first = self.membership[2 * pair, :, None]
            said = [_side(side, is_first, *both) for side in sides]
            for value in both:
                yield pair, value, said
            give_back(values)


def marked(side: Side, in_reference: Bools) -> Bools:
    """(R', N) which references a side means, from which trained on each example."""
    return in_reference if side == "in" else ~in_reference


def _side(side: Side, is_first: Bools, first: Array, second: Array) -> Array:
    """Of each pair, what the model says that trained on the example ("in") or that did not ("out")."""
    return np.where(marked(side, is_first), first, second)


def give_back(values: npt.NDArray[np.generic]) -> None:
    """Tell the system that the pages of a memory-mapped array were read; nothing happens to one in memory.

    They stay in the page cache, but no longer count as memory of this process.
    """
    owner: object = values
    mode = ""
    while isinstance(owner, np.ndarray):
        mode = getattr(owner, "mode", mode)
        owner = owner.base
    if mode == "r" and isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _only(signals: Signals, kinds: tuple[str, ...], rows: int | Ints) -> Signals:
    """The wanted kinds of the wanted models; the others NaN, all one number."""
    shape = (signals.shape[1:]) if isinstance(rows, int) else (len(rows), *signals.shape[1:])
    nothing = np.broadcast_to(np.float32(np.nan), shape)
    chosen = {kind: signals[kind][rows] if kind in kinds else nothing for kind in SIGNAL_KINDS}
    return Signals.of(chosen, {key: read[rows] for key, read in signals.readings.items() if key in kinds})
