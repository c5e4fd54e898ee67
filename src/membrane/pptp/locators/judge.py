"""From numbers to a risk map: intervals, the permuted null, and whether any region stands out from it.

Regions are several, so one of them leaves its own 95 % band more often than in one of twenty maps. Whether the map
as a whole says anything is asked once, by the largest standardized score (Westfall and Young 1993, "Resampling-Based
Multiple Testing", single-step max-T): under permuted membership 95 % of the maps are flat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from membrane.pptp.probe import Probe
from membrane.pptp.risk_map import RegionRisk, RiskMap, Spread

N_RESAMPLES = 200
LEVEL = 0.05  # p-value above which a map is called flat
FLAT = "not localizable"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What was estimated for each of R regions.

    Args:
        values: (R,).
        replicates: (B, R), under resampling.
        null: (P, R), under permuted membership.
    """

    values: Array
    replicates: Array
    null: Array

    @property
    def p_value(self) -> float:
        """Share of the permutations whose largest standardized score is as large as the one found."""
        return max_p_value(self.values, self.null)

    def flags(self) -> list[str]:
        """What the map as a whole has to be read with."""
        if self.p_value <= LEVEL:
            return []
        return [f"{FLAT}: no region stands out from the permuted null (p = {self.p_value:.2f})"]


def max_p_value(values: Array, null: Array) -> float:
    """Permutation p-value of the largest of R scores, each measured by the spread of its own null.

    Args:
        values: (R,) as found.
        null: (P, R) under permuted membership. A region whose null does not vary is left out.
    """
    centre, scale = null.mean(0), null.std(0)
    varies = scale > 0
    if not varies.any():
        return 1.0
    found = ((values - centre)[varies] / scale[varies]).max()
    permuted = ((null - centre)[:, varies] / scale[varies]).max(1)
    return float((1 + np.count_nonzero(permuted >= found)) / (1 + len(null)))


def contrast(
    units: Array,
    is_member: npt.NDArray[np.bool_],
    statistic: Callable[[Array, Array], Array],
    generator: np.random.Generator,
) -> Scores:
    """Scores that are made from means over members and over non-members.

    Args:
        units: (N, K), what was read from each example, or from each batch of them.
        is_member: (N,).
        statistic: From means over members (..., K) and over non-members (..., K) to scores (..., R).
        generator: Draws resamples, within each class, and permutations.
    """
    groups = np.flatnonzero(is_member), np.flatnonzero(~is_member)
    drawn = [group[generator.integers(len(group), size=(N_RESAMPLES, len(group)))] for group in groups]
    permuted = [generator.permutation(is_member) for _ in range(N_RESAMPLES)]
    null = np.stack([statistic(units[one].mean(0), units[~one].mean(0)) for one in permuted])
    replicates = np.stack([statistic(units[m].mean(0), units[n].mean(0)) for m, n in zip(*drawn, strict=True)])
    return Scores(statistic(*(units[group].mean(0) for group in groups)), replicates, null)


def risk_map(
    method: str,
    unit: str,
    probe: Probe,
    scores: Scores,
    start: float,
    *,
    window: tuple[int, int] | None = None,
    accuracy_change: Sequence[Spread | None] | None = None,
    unrecovered: Sequence[Spread | None] | None = None,
    flags: Sequence[str] = (),
) -> RiskMap:
    """A map from scores of every region of the probe's network, in order.

    Args:
        method: Name of the estimator.
        unit: Of its scores.
        probe: What was measured with.
        scores: Of every region.
        start: ``time.perf_counter()`` when work began.
        window: Epochs that regions were moved to, if any.
        accuracy_change: Raw contribution to generalization by region.
        unrecovered: What of it a protected refit does not bring back.
        flags: Of the map as a whole, besides flatness.
    """
    regions = []
    for i, region in enumerate(probe.partition.regions):
        risk = Spread.of(float(scores.values[i]), scores.replicates[:, i])
        null = Spread.of(float(np.median(scores.null[:, i])), scores.null[:, i])
        regions.append(
            RegionRisk(
                region.name,
                region.n_parameters,
                probe.partition.share([region.name]),
                None,
                risk,
                accuracy_change[i] if accuracy_change else None,
                null,
                None,
                within(risk, null),
                unrecovered[i] if unrecovered else None,
            )
        )
    return RiskMap(
        method,
        window,
        probe.unedited.leakage,
        probe.unedited.accuracy,
        len(probe.members),
        len(probe.search),
        time.perf_counter() - start,
        tuple(regions),
        (),
        (*flags, *scores.flags()),
        unit,
        scores.p_value,
    )


def within(risk: Spread, null: Spread) -> tuple[str, ...]:
    """The flag of a region whose score chance alone would give."""
    return ("within the permuted null",) if null.low <= risk.value <= null.high else ()
