"""Attacks that another attack makes on what was read elsewhere than at the model's answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup
from membrane.attacks.lira import LiRA
from membrane.attacks.on_attacks import OnAttacks
from membrane.core.errors import SettingError
from membrane.core.values import SIGNAL_KINDS, Floats, Observation, Signals
from membrane.readings import Reading, Reveals, most_open


@dataclass(frozen=True)
class OnReading(OnAttacks):
    """Base class: the signals that the other attack sees come out of a reading.

    Args:
        base: Any attack on the signals that the reading gives.

    Raises:
        SettingError: If ``base`` reads something else.
    """

    base: Attack = field(default_factory=LiRA)

    def __post_init__(self) -> None:
        super().__post_init__()
        there = self.kinds_read
        if self.base.readings or not set(self.base.signals) <= set(there):
            raise SettingError(
                f"base is {self.base.name}, which reads {', '.join(self.base.kinds)}; here it finds {', '.join(there)} "
                "alone. Name another one, such as lira."
            )

    @property
    def reading(self) -> Reading:
        """What is read off the models."""
        raise NotImplementedError

    @property
    def kinds_read(self) -> tuple[str, ...]:
        """Signals that come out of it."""
        raise NotImplementedError

    def found(self, read: Floats) -> dict[str, Floats]:
        """These signals by name, (..., N, Q), from what was read (..., N, K)."""
        raise NotImplementedError

    def moved(self, signals: Signals) -> dict[str, Floats]:
        """What the other attack gets of all that the models gave, readings included: what was read."""
        return self.found(signals[self.reading.key])

    @property
    def parts(self) -> tuple[Attack]:
        return (self.base,)

    @property
    def signals(self) -> tuple[str, ...]:  # type: ignore[override]
        """None of the models' own answers."""
        return ()

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (self.reading,)

    @property
    def threat_model(self) -> Reveals:  # type: ignore[override]
        """What the reading needs opened."""
        return most_open([self.reading.threat_model, self.base.threat_model])

    @property
    def min_population(self) -> int:  # type: ignore[override]
        """As many strangers as the reading or the base needs."""
        return max(self.reading.min_population, self.base.min_population)

    def score(self, seen: Observation) -> Scores:
        moved = dataclasses.replace(
            seen,
            target=self._moved(seen.target),
            reference=self._moved(seen.reference),
            population=self._moved(seen.population),
            population_reference=self._moved(seen.population_reference),
        )
        return self.base.score(moved)

    def score_all(self, lineup: Lineup) -> Scores:
        pool, population = self._moved(lineup.pool), self._moved(lineup.population)
        return self.base.score_all(dataclasses.replace(lineup, pool=pool, population=population))

    def _moved(self, signals: Signals) -> Signals:
        """In the place of the signals; kinds that are not there are NaN."""
        found = self.moved(signals)
        nothing = np.broadcast_to(np.float32(np.nan), next(iter(found.values())).shape)
        return Signals.of({kind: found.get(kind, nothing) for kind in SIGNAL_KINDS})
