"""What an attack is: observation in, one score per example out, higher meaning more likely a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from membrane.core.errors import DataError, ModelError, NotEnoughDataError, raise_all
from membrane.core.values import Ints, Observation

Scores = npt.NDArray[np.float64]


def over_queries(values: npt.NDArray[np.floating]) -> Scores:
    """(N,) float64 means of ``values`` (N, Q): how an attack that sees queries one by one makes one score of them."""
    return np.asarray(values.mean(axis=1, dtype=np.float64))


class Access(Protocol):
    """What an active attack may do to the target: only what its declared threat model opens.

    Every call is counted, so a report can say how many queries an attack cost.
    """

    def labels(self, x: npt.NDArray[np.float32]) -> Ints:
        """(B,) predicted classes of inputs (B, ...); opened for label-only attacks."""
        ...

    @property
    def n_queries(self) -> int:
        """Inputs answered so far."""
        ...


@dataclass(frozen=True)
class Attack:
    """Base class of the passive attacks.

    A subclass declares what it needs and writes ``score``; callers use the attack as a function, which
    checks the observation before and the scores after. An attack never sees the target's membership,
    never computes its own success, never trains and never prints.
    """

    name: ClassVar[str]
    threat_model: ClassVar[str] = "scores"  # what the target must reveal: "labels", "scores", "weights"
    source: ClassVar[str]  # authors year, arXiv id
    signals: ClassVar[tuple[str, ...]]  # kinds that it reads
    min_in_models: ClassVar[int] = 0
    min_out_models: ClassVar[int] = 0
    min_population: ClassVar[int] = 0

    def score(self, seen: Observation) -> Scores:
        """(N,) scores, higher = more likely a member; ``seen`` has passed the checks."""
        raise NotImplementedError

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

    def __call__(self, seen: Observation, access: Access | None = None) -> Scores:
        """Checked scores (N,) float64; the one way in for every attack, passive or active.

        Args:
            seen: What the attacker has.
            access: The open target, for active attacks; a passive attack leaves it alone.

        Raises:
            NotEnoughDataError: If references or population are too few.
            DataError: If a signal that the attack reads is not finite, or an active attack gets no access.
            ModelError: If the attack itself returns something else than N finite numbers.
        """
        self._check(seen)
        scores = np.asarray(self._scores(seen, access), dtype=np.float64)
        n = len(seen.labels)
        if scores.shape != (n,):
            raise ModelError(f"attack {self.name!r} must return {n} scores; got shape {scores.shape}.")
        if not np.isfinite(scores).all():
            bad = np.count_nonzero(~np.isfinite(scores))
            raise ModelError(f"attack {self.name!r} returned NaN or infinity for {bad} of {n} examples.")
        return scores

    def _scores(self, seen: Observation, access: Access | None) -> Scores:
        return self.score(seen)

    def _check(self, seen: Observation) -> None:
        n_in, n_out = (int(count.min(initial=len(seen.in_reference))) for count in (seen.n_in, seen.n_out))
        raise_all(self.missing(n_in, n_out, len(seen.population.loss)), NotEnoughDataError)
        places = ("target", "reference", "population", "population_reference")
        raise_all(
            (
                f"attack {self.name!r} reads {kind!r}, and the {place} models gave NaN or infinity."
                for kind in self.signals
                for place in places
                if not np.isfinite(getattr(getattr(seen, place), kind)).all()
            ),
            DataError,
        )


@dataclass(frozen=True)
class ActiveAttack(Attack):
    """Base class of attacks that query or open the target (label-only, white-box); they write ``score_with``."""

    def score_with(self, seen: Observation, access: Access) -> Scores:
        """(N,) scores, higher = more likely a member."""
        raise NotImplementedError

    def _scores(self, seen: Observation, access: Access | None) -> Scores:
        if access is None:
            raise DataError(f"attack {self.name!r} needs access to the target; signals alone are not enough.")
        return self.score_with(seen, access)
