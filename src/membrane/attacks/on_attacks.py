"""Attacks made of other attacks, of whatever needs: they read what those read, and need what those need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack
from membrane.core.errors import SettingError
from membrane.readings import Reading, Reveals, distinct, most_open


@dataclass(frozen=True)
class OnAttacks(Attack):
    """Base class of attacks that combine the scores of others."""

    setting: ClassVar[str] = "base"  # that holds them

    @property
    def parts(self) -> Sequence[Attack]:
        """The attacks that it is made of, one or more."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if not self.parts or not all(isinstance(one, Attack) for one in self.parts):
            raise SettingError(f"{self.setting} is {self.parts!r}; it must be attacks, such as LiRA().")

    @property
    def signals(self) -> tuple[str, ...]:  # type: ignore[override]
        """Kinds that any of them reads."""
        return tuple(dict.fromkeys(kind for one in self.parts for kind in one.signals))

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Readings that any of them needs."""
        return distinct(reading for one in self.parts for reading in one.readings)

    @property
    def threat_model(self) -> Reveals:  # type: ignore[override]
        """As the one to which most must be opened."""
        return most_open(one.threat_model for one in self.parts)

    @property
    def min_in_models(self) -> int:  # type: ignore[override]
        """As the one that needs most."""
        return max(one.min_in_models for one in self.parts)

    @property
    def min_out_models(self) -> int:  # type: ignore[override]
        """As the one that needs most."""
        return max(one.min_out_models for one in self.parts)

    @property
    def min_population(self) -> int:  # type: ignore[override]
        """As the one that needs most."""
        return max(one.min_population for one in self.parts)
