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
    """What happens when one region alone is taken from the early window and the rest stays final.

    Args:
        name: The region.
        n_parameters: Its parameters.
        share: Their fraction of the network's.
        displacement: Euclidean distance between final and early weights.
        leakage_drop: Fall of the leakage (AUC); positive means that the region carried risk.
        accuracy_change: Change of holdout accuracy, a fraction; negative means that it carried generalization.
        null: Leakage drop under permuted membership: middle and 95 % band, around 0.
        random_channels: Same measures for random channels of all layers, as many parameters as the region; None
            if not asked for.
        flags: What to be careful about.
    """

    name: str
    n_parameters: int
    share: float
    displacement: float
    leakage_drop: Spread
    accuracy_change: Spread
    null: Spread
    random_channels: dict[str, float] | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetRisk:
    """The same for a contiguous set of regions moved together."""

    regions: tuple[str, ...]
    leakage_drop: Spread
    accuracy_change: Spread


@dataclass(frozen=True)
class RiskMap:
    """Where membership risk and generalization lie in one trained network.

    Args:
        method: Name of the estimator.
        window: First and last epoch of the early window that regions were moved to.
        leakage: Of the unedited model, AUC of minus the loss on the probe.
        accuracy: Of the unedited model on the searching half of the holdout.
        n_members: Members in the probe.
        n_holdout: Holdout examples in the probe.
        seconds: What locating cost.
        regions: One entry each, in the order in which they run.
        sets: Contiguous sets of two or more.
        flags: What to be careful about, for the map as a whole.
    """

    method: str
    window: tuple[int, int]
    leakage: float
    accuracy: float
    n_members: int
    n_holdout: int
    seconds: float
    regions: tuple[RegionRisk, ...]
    sets: tuple[SetRisk, ...]
    flags: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """JSON-ready form."""
        plain: dict[str, Any] = to_plain(self)
        return plain
