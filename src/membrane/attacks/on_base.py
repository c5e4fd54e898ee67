"""Attacks built on another one: what its score of the target means beside its scores of models that are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from membrane.attacks.attack import Attack, Scores
from membrane.core.errors import SettingError
from membrane.core.values import Observation
from membrane.readings import Reading, Reveals


@dataclass(frozen=True)
class OnBase(Attack):
    """Base class of attacks that let every reference model play target for another attack, and learn from that.

    Args:
        base: Attack that reads nothing but the target.

    Raises:
        SettingError: If ``base`` needs reference models or a population.
    """

    base: Attack

    def __post_init__(self) -> None:
        if not isinstance(self.base, Attack) or self.base.missing(0, 0, 0):
            raise SettingError(
                f"base is {self.base!r}; it must be an attack that needs neither reference models nor population "
                "examples, such as LossThreshold()."
            )

    @property
    def signals(self) -> tuple[str, ...]:  # type: ignore[override]
        """Kinds that the base reads."""
        return self.base.signals

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Readings that the base needs."""
        return self.base.readings

    @property
    def threat_model(self) -> Reveals:  # type: ignore[override]
        """That of the base."""
        return self.base.threat_model

    def of_references(self, seen: Observation) -> Iterator[Scores]:
        """(N,) scores of the base for each reference in turn, as if it were the target."""
        for row in range(len(seen.in_reference)):
            reference = seen.reference.map(itemgetter(row))
            yield self.base.score(dataclasses.replace(seen, target=reference))
