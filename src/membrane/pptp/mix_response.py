"""Locate by mix response: move regions to an early stretch of their history and watch leakage and accuracy.

A causal score: the intervention that is scored is the one that protects. Rewinding lineage: Zhang, Bengio,
Singer 2019, "Are All Layers Created Equal?", arXiv:1902.01996; moved to a window mean instead of one
epoch, statistics recomputed, membership null and equal-count controls beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.core.progress import Progress, silent
from membrane.metrics import auc, auc_replicates, mean_replicates, resample
from membrane.pptp.plan import Plan
from membrane.pptp.probe import Measured, Probe
from membrane.pptp.risk_map import RegionRisk, RiskMap, SetRisk, Spread
from membrane.regions import Trail, mix, random_channels

N_RESAMPLES = 200
MISMATCH = 0.01  # accuracy lost to recomputed statistics alone that is worth a flag


def contiguous(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every run of neighbouring regions, single ones first.

    >>> contiguous(["a", "b", "c"])
    [('a',), ('b',), ('c',), ('a', 'b'), ('b', 'c'), ('a', 'b', 'c')]
    """
    n = len(names)
    return [tuple(names[i : i + size]) for size in range(1, n + 1) for i in range(n - size + 1)]


def early_window(trail: Trail) -> tuple[int, int]:
    """The window to locate with: about the first sixth of training without its very beginning.

    Raises:
        SettingError: If the trail is too short to have an early stretch.
    """
    if trail.n_epochs < 3 or len(trail.epochs) < 3:
        raise SettingError(
            f"the trail has {trail.n_epochs} epochs; an early stretch needs 3 or more. Train again with a snapshot "
            "after every epoch, or pass the start of fine-tuning as an early point."
        )
    wanted = (trail.n_epochs / 12, trail.n_epochs / 6)
    early = [window for window in trail.windows if window[1] < trail.n_epochs - 1]
    return min(early, key=lambda w: (abs(w[0] - wanted[0]) + abs(w[1] - wanted[1]), w))


def mix_response(
    probe: Probe,
    numpy_generator: np.random.Generator,
    window: tuple[int, int] | None = None,
    controls: torch.Generator | None = None,
    progress: Progress = silent,
) -> tuple[RiskMap, dict[Plan, Measured]]:
    """Risk map, and everything that was measured for it.

    Args:
        probe: Model, trail and data of the choice.
        numpy_generator: For bootstrap and permutations.
        window: Early window; chosen from the trail's length if not given.
        controls: If given, random channels of equal parameter count are measured beside each region.
        progress: Told of each measured edit.

    Raises:
        SettingError: If the trail is too short or the window was not kept.
    """
    start = time.perf_counter()
    first, last = window or early_window(probe.trail)
    sets = contiguous(probe.partition.names)
    total = len(sets) + 1 + (len(probe.partition.names) if controls else 0)
    measured: dict[Plan, Measured] = {Plan(): probe.measure(probe.final)}
    for regions in sets:
        plan = Plan.same(regions, first, last)
        measured[plan] = probe.measure(plan.state(probe.final, probe.trail, probe.partition))
        progress("locate", len(measured), total)
    responses = _Responses(measured[Plan()], numpy_generator)
    regions_found = []
    for i, region in enumerate(probe.partition.regions):
        edited = measured[Plan.same((region.name,), first, last)]
        share = probe.partition.share([region.name])
        drop, null = responses.leakage_drop(edited), responses.null(edited)
        regions_found.append(
            RegionRisk(
                region.name,
                region.n_parameters,
                share,
                _displacement(probe, region.keys, first, last),
                drop,
                responses.accuracy_change(edited),
                null,
                _random_control(probe, share, first, last, responses.base, controls) if controls else None,
                ("within the permuted null",) if null.low <= drop.value <= null.high else (),
            )
        )
        if controls:
            progress("locate", len(measured) + i + 1, total)
    found_sets = tuple(
        SetRisk(plan.regions, responses.leakage_drop(measured[plan]), responses.accuracy_change(measured[plan]))
        for plan in (Plan.same(regions, first, last) for regions in sets if len(regions) > 1)
    )
    base = responses.base
    flags = _mismatch(probe.unedited.accuracy - base.accuracy)
    if all(region.leakage_drop.low <= region.null.high for region in regions_found):
        flags.append("not localizable: no single region's drop stands out from the permuted null")
    risk_map = RiskMap(
        "mix_response",
        (first, last),
        base.leakage,
        base.accuracy,
        len(base.members),
        len(base.search),
        time.perf_counter() - start,
        tuple(regions_found),
        found_sets,
        tuple(flags),
    )
    return risk_map, measured


class _Responses:
    """Differences from the unedited model, each with a paired bootstrap over members and holdout."""

    def __init__(self, base: Measured, generator: np.random.Generator) -> None:
        self.base = base
        self.n_members = len(base.members)
        n = self.n_members + len(base.search)
        self._is_member = (np.arange(n) < self.n_members)[None]
        self._resamples = resample(1, n, N_RESAMPLES, generator, models=False)
        self._search_resamples = resample(1, len(base.search), N_RESAMPLES, generator, models=False)
        self._permutations = [generator.permutation(n) for _ in range(N_RESAMPLES)]
        self._base_auc = self._aucs(base)

    def _scores(self, measured: Measured) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.concatenate([measured.members, measured.search])[None]

    def _aucs(self, measured: Measured) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return auc_replicates(self._scores(measured), self._is_member, self._resamples)

    def leakage_drop(self, edited: Measured) -> Spread:
        return Spread.of(self.base.leakage - edited.leakage, self._base_auc - self._aucs(edited))

    def accuracy_change(self, edited: Measured) -> Spread:
        change = edited.correct.astype(np.float64) - self.base.correct
        return Spread.of(float(change.mean()), mean_replicates(change[None], self._search_resamples))

    def null(self, edited: Measured) -> Spread:
        before, after = self._scores(self.base)[0], self._scores(edited)[0]
        labels = self._is_member[0]
        drops = np.array([auc(before, labels[p]) - auc(after, labels[p]) for p in self._permutations])
        return Spread.of(float(np.median(drops)), drops)


def _mismatch(lost: float) -> list[str]:
    """Whether statistics recomputed on these members are those that the network expects."""
    if lost < MISMATCH:
        return []
    return [
        f"recomputing normalization statistics alone costs {100 * lost:.1f} points of accuracy; if training augments "
        "its inputs, pass the same augmentation (augment=...)"
    ]


def _displacement(probe: Probe, keys: Sequence[str], first: int, last: int) -> float:
    early = probe.trail.window(first, last)
    squares = [(probe.final[key].float() - early[key]).square().sum() for key in keys if key in early]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _random_control(
    probe: Probe, share: float, first: int, last: int, base: Measured, generator: torch.Generator
) -> dict[str, float]:
    keep = random_channels(probe.final, share, generator)
    edited = probe.measure(mix(probe.final, probe.trail.window(first, last), keep, keep.keys()))
    return {"leakage_drop": base.leakage - edited.leakage, "accuracy_change": edited.accuracy - base.accuracy}
