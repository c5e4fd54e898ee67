"""Attacks on labels alone: how much can an example change before the model calls it something else?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.core.values import Observation
from membrane.readings import Reading, Reveals


@dataclass(frozen=True)
class LabelRobustness(Attack):
    """Base class: the score is what a reading says, the mean of it if it says several things.

    What is hard for every model is fragile whoever trained on it; to set that off with reference models, make the
    attack the base of 'calibration'.
    """

    threat_model: ClassVar[Reveals] = "labels"
    examples_apart: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    @property
    def reading(self) -> Reading:
        """What is read off the models, higher for members."""
        raise NotImplementedError

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (self.reading,)

    def __post_init__(self) -> None:
        assert self.reading  # which refuses settings that do not fit

    def score(self, seen: Observation) -> Scores:
        return over_queries(seen.target[self.reading.key])
