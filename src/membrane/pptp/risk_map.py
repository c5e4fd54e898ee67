"""The risk map: what each region carries, with intervals, a null and size controls beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.core.settings import to_plain


@dataclass(frozen=True)
class Spread:
    """A value with the interval around it."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(value: float, replicates: npt.NDArray[np.float64]) -> Spread:
        """The value between the 2.5 % and 97.5 % quantiles of its replicates (B,)."""
        low, high = np.quantile(replicates, [0.025, 0.975])
        return Spread(value, float(low), float(high))


@dataclass(frozen=True)
class RegionRisk:
    """What one region carries.

    Args:
        name: The region.
        n_parameters: Its parameters.
        share: Their fraction of the network's.
        displacement: Euclidean distance between final and early weights; None where nothing was moved.
        leakage_drop: The risk score, in the map's unit, higher means more risk. Where regions are moved to an early
            window it is the fall of the leakage (AUC), which the name, kept in stored results, comes from.
        accuracy_change: Change of holdout accuracy without what the region learnt, a fraction; negative means that it
            carried generalization. None where the estimator does not say.
        null: The score under permuted membership: middle and 95 % band.
        random_channels: Same measures for random channels of all layers, as many parameters as the region; None
            if not asked for.
        flags: What to be careful about.
        unrecovered: The part of ``accuracy_change`` that is still missing after the region was trained again under
            protection; None where nothing was trained.
    """

    name: str
    n_parameters: int
    share: float
    displacement: float | None
    leakage_drop: Spread
    accuracy_change: Spread | None
    null: Spread
    random_channels: dict[str, float] | None
    flags: tuple[str, ...] = ()
    unrecovered: Spread | None = None


@dataclass(frozen=True)
class SetRisk:
    """What a contiguous set of regions carries when it is moved together."""

    regions: tuple[str, ...]
    leakage_drop: Spread
    accuracy_change: Spread


@dataclass(frozen=True)
class RiskMap:
    """Where membership risk and generalization lie in one trained network.

    Args:
        method: Name of the estimator.
        window: First and last epoch of the early window that regions were moved to; None where none were.
        leakage: Of the unedited model, AUC of minus the loss on the probe.
        accuracy: Of the unedited model on the searching half of the holdout.
        n_members: Members in the probe.
        n_holdout: Holdout examples in the probe.
        seconds: What locating cost.
        regions: One entry each, in the order in which they run.
        sets: Contiguous sets of two or more.
        flags: What to be careful about, for the map as a whole.
        unit: Of the risk scores.
        p_value: Of the largest score of the map under permuted membership; None in maps stored before it was asked.
    """

    method: str
    window: tuple[int, int] | None
    leakage: float
    accuracy: float
    n_members: int
    n_holdout: int
    seconds: float
    regions: tuple[RegionRisk, ...]
    sets: tuple[SetRisk, ...]
    flags: tuple[str, ...] = ()
    unit: str = "AUC"
    p_value: float | None = None

    def plain(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain: dict[str, Any] = to_plain(self)
        return plain
