"""What an attack is: observation in, one score per example out, higher meaning more likely a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from membrane.attacks.lineup import Lineup
from membrane.attacks.references import blocks
from membrane.core.errors import DataError, ModelError, NotEnoughDataError, raise_all
from membrane.core.values import Observation
from membrane.readings import Reading, Reveals

Scores = npt.NDArray[np.float64]


def over_queries(values: npt.NDArray[np.floating]) -> Scores:
    """(N,) float64 means of ``values`` (N, Q): how an attack that sees queries one by one makes one score of them."""
    return np.asarray(values.mean(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Attack:
    """Base class of the attacks.

    A subclass declares what it needs and writes ``score``; callers use the attack as a function, which
    checks the observation before and the scores after. An attack never sees the target's membership,
    never computes its own success and never prints. What must be asked of a model beyond one answer for each
    example is a reading, which the attack names.
    """

    name: ClassVar[str]
    threat_model: ClassVar[Reveals] = "scores"  # what the target must reveal
    source: ClassVar[str]  # authors year, arXiv id
    signals: ClassVar[tuple[str, ...]] = ()  # kinds that it reads
    min_in_models: ClassVar[int] = 0
    min_out_models: ClassVar[int] = 0
    min_population: ClassVar[int] = 0
    examples_apart: ClassVar[bool] = False  # whether the score of an example depends on no other example audited
    trains: ClassVar[str] = ""  # what is trained for it beyond the reference models, in words
    by_default: ClassVar[bool] = True  # whether an audit that names no attacks runs it

    @property
    def readings(self) -> tuple[Reading, ...]:
        """What it needs to be read off target and references beyond signals."""
        return ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Signals and keys of the readings."""
        return (*self.signals, *(reading.key for reading in self.readings))

    def queries_of(self, ways: int = 1) -> int:
        """Inputs that the target answers for each example; all signals come from the same answers.

        Args:
            ways: In which each example is asked for its signals.
        """
        return ways * bool(self.signals) + sum(reading.queries for reading in self.readings)

    def score(self, seen: Observation) -> Scores:
        """(N,) scores, higher = more likely a member; ``seen`` has passed the checks."""
        raise NotImplementedError

    def score_all(self, lineup: Lineup) -> Scores:
        """(R, N) what ``score`` says of each model of the line-up as target; it has passed the checks.

        This one calls ``score`` for each, on blocks of examples where their scores do not depend on each other. An
        attack may override it with something faster; the tests ask every attack whether both say the same.
        """
        compares = bool(self.min_in_models or self.min_out_models)
        scores = np.empty(lineup.membership.shape)
        values = lineup.pool[self.kinds[0]]
        for block in blocks(values) if compares and self.examples_apart else (slice(None),):
            for target in range(lineup.n_models):
                scores[target, block] = self.score(lineup.observe(target, self.kinds, block, compares))
                lineup.give_back(self.kinds)
        return scores

    def missing(self, n_in: int, n_out: int, n_population: int) -> list[str]:
        """What the attack would lack, one sentence each; empty if it can run.

        Args:
            n_in: Fewest IN references that any example has.
            n_out: Fewest OUT references.
            n_population: Number of population examples.
        """
        needs = (
            ("IN references per example", self.min_in_models, n_in, "Train more reference models"),
            ("OUT references per example", self.min_out_models, n_out, "Train more reference models"),
            ("population examples", self.min_population, n_population, "Pass examples that nobody trained on"),
        )
        return [
            f"attack {self.name!r} needs {least} {what}; there are {there}. {remedy}, or leave the attack out."
            for what, least, there, remedy in needs
            if there < least
        ]

    def __call__(self, seen: Observation) -> Scores:
        """Checked scores (N,) float64; the one way in for every attack.

        Raises:
            NotEnoughDataError: If references or population are too few.
            DataError: If something that the attack reads is not there or not finite.
            ModelError: If the attack itself returns something else than N finite numbers.
        """
        self._check(seen)
        return self._checked(self.score(seen), seen.labels.shape)

    def against_all(self, lineup: Lineup) -> Scores:
        """Checked scores (R, N) float64, every model of the line-up playing target once.

        Raises:
            NotEnoughDataError: If references or population are too few.
            DataError: If something that the attack reads is not there or not finite.
            ModelError: If the attack returns something else than R x N finite numbers.
        """
        n_each = lineup.n_references
        raise_all(self.missing(n_each, n_each, lineup.population.shape[1]), NotEnoughDataError)
        raise_all(
            (
                f"attack {self.name!r} reads {kind!r}, and on the {place} the models gave NaN or infinity."
                for kind in self.kinds
                for place in ("pool", "population")
                if not lineup.is_finite(place, kind)
            ),
            DataError,
        )
        return self._checked(self.score_all(lineup), lineup.membership.shape)

    def _checked(self, scores: npt.ArrayLike, shape: tuple[int, ...]) -> Scores:
        checked = np.asarray(scores, dtype=np.float64)
        wanted = " x ".join(map(str, shape))
        if checked.shape != shape:
            raise ModelError(f"attack {self.name!r} must return {wanted} scores; got shape {checked.shape}.")
        if not np.isfinite(checked).all():
            bad = np.count_nonzero(~np.isfinite(checked))
            raise ModelError(f"attack {self.name!r} returned NaN or infinity for {bad} of {wanted} examples.")
        return checked

    def _check(self, seen: Observation) -> None:
        n_in, n_out = (int(count.min(initial=len(seen.in_reference))) for count in (seen.n_in, seen.n_out))
        raise_all(self.missing(n_in, n_out, len(seen.population.loss)), NotEnoughDataError)
        places = ("target", "reference", "population", "population_reference")
        raise_all(
            (
                f"attack {self.name!r} reads {kind!r}, and the {place} models gave NaN or infinity."
                for kind in self.kinds
                for place in places
                if not np.isfinite(getattr(seen, place)[kind]).all()
            ),
            DataError,
        )
