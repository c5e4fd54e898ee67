"""A plan: which regions release which stretch of their training history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from membrane.core.errors import SettingError
from membrane.regions import Partition, Trail, mix
from membrane.regions.edit import State


@dataclass(frozen=True)
class Stretch:
    """What one region releases: ``keep`` of its final weights and the rest from the mean of an early window.

    Args:
        region: Name of the region.
        first: First epoch of the window, from 0.
        last: Last epoch, included.
        keep: Share of the final weights, 0 to 1.
    """

    region: str
    first: int
    last: int
    keep: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise SettingError(f"region {self.region!r}: epochs {self.first} to {self.last} are no window.")
        if not 0 <= self.keep <= 1:
            raise SettingError(f"region {self.region!r}: keep is {self.keep}; it is a share from 0 to 1.")


@dataclass(frozen=True)
class Plan:
    """Stretches of the protected regions; regions that are not named release their final weights.

    Early stopping (one epoch, all regions), weight averaging (one window, all regions), rewinding (one
    epoch, some regions) and no defense (no stretches) are plans too.
    """

    stretches: tuple[Stretch, ...] = ()

    def __post_init__(self) -> None:
        names = [stretch.region for stretch in self.stretches]
        if len(set(names)) != len(names):
            raise SettingError(f"a region appears twice in the plan: {names}. Each releases one stretch.")

    @staticmethod
    def same(regions: tuple[str, ...], first: int, last: int, keep: float = 0.0) -> Plan:
        """One stretch for several regions."""
        return Plan(tuple(Stretch(region, first, last, keep) for region in regions))

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that do not release their final weights."""
        return tuple(stretch.region for stretch in self.stretches)

    def state(self, final: State, trail: Trail, partition: Partition) -> dict[str, Tensor]:
        """Weights to release, before normalization statistics are recomputed.

        Raises:
            SettingError: If a region does not exist or a window was not kept.
        """
        state = dict(final)
        for stretch in self.stretches:
            donor = trail.window(stretch.first, stretch.last)
            state = mix(state, donor, stretch.keep, partition.keys([stretch.region]))
        return state

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Plan:
        """Plan from what ``core.to_plain`` gave, as found in results and TOML files.

        Raises:
            SettingError: If it is not a plan.
        """
        try:
            return Plan(tuple(Stretch(**stretch) for stretch in plain["stretches"]))
        except (KeyError, TypeError) as problem:
            raise SettingError(
                f"this is not a plan ({problem}); it needs a list 'stretches' of region, first, last and keep."
            ) from problem
