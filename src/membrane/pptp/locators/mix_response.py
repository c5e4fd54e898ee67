"""Locate by mix response: move regions to an early stretch of their history and watch leakage and accuracy.

A causal score: the intervention that is scored is the one that protects. Rewinding lineage: Zhang, Bengio,
Singer 2019, "Are All Layers Created Equal?", arXiv:1902.01996; moved to a window mean instead of one
epoch, statistics recomputed, membership null and equal-count controls beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.metrics import auc, auc_replicates, mean_replicates, resample
from membrane.pptp.locators.judge import N_RESAMPLES, Array, Scores, within
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.plan import Plan
from membrane.pptp.probe import Measured, Probe
from membrane.pptp.risk_map import RegionRisk, RiskMap, SetRisk, Spread
from membrane.regions import Trail, mix, random_channels

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


@dataclass(frozen=True)
class MixResponse(Locator):
    """How leakage and accuracy respond when a region goes back to an early stretch of its history.

    Args:
        window: Early epochs, first and last, that regions are moved to; chosen from the trail's length if not given.
        controls: Measure random channels of equal parameter count beside each region.
    """

    name: ClassVar[str] = "mix_response"
    source: ClassVar[str] = "Zhang, Bengio, Singer 2019, arXiv:1902.01996 (rewinding); window, controls and null ours"
    kind: ClassVar[Kind] = "causal"
    notes: ClassVar[str] = "fall of the AUC; the intervention that is scored is the one that PPTP releases"

    window: tuple[int, int] | None = None
    controls: bool = True

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        numbers = np.random.default_rng(spawn_seed(generator))
        controls = generator if self.controls else None
        return mix_response(subject.probe, numbers, self.window, controls, progress)[0]


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
    responses = Responses(measured[Plan()], numpy_generator)
    alone = [measured[Plan.same((name,), first, last)] for name in probe.partition.names]
    scores = responses.scores(alone)
    regions_found = []
    for i, region in enumerate(probe.partition.regions):
        share = probe.partition.share([region.name])
        drop = Spread.of(float(scores.values[i]), scores.replicates[:, i])
        null = Spread.of(float(np.median(scores.null[:, i])), scores.null[:, i])
        regions_found.append(
            RegionRisk(
                region.name,
                region.n_parameters,
                share,
                _displacement(probe, region.keys, first, last),
                drop,
                responses.accuracy_change(alone[i]),
                null,
                _random_control(probe, share, first, last, responses.base, controls) if controls else None,
                within(drop, null),
            )
        )
        if controls:
            progress("locate", len(measured) + i + 1, total)
    found_sets = tuple(
        SetRisk(plan.regions, responses.leakage_drop(measured[plan]), responses.accuracy_change(measured[plan]))
        for plan in (Plan.same(regions, first, last) for regions in sets if len(regions) > 1)
    )
    base = responses.base
    flags = _mismatch(probe.unedited.accuracy - base.accuracy) + scores.flags()
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
        p_value=scores.p_value,
    )
    return risk_map, measured


class Responses:
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

    def scores(self, edited: Sequence[Measured]) -> Scores:
        """Fall of the leakage under each of R edits."""
        return Scores(
            np.array([self.base.leakage - one.leakage for one in edited]),
            np.stack([self._base_auc - self._aucs(one) for one in edited], axis=1),
            np.stack([self._null(one) for one in edited], axis=1),
        )

    def leakage_drop(self, edited: Measured) -> Spread:
        """Fall of the leakage under one edit."""
        return Spread.of(self.base.leakage - edited.leakage, self._base_auc - self._aucs(edited))

    def accuracy_change(self, edited: Measured) -> Spread:
        """Change of the accuracy on the searching half of the holdout, a fraction."""
        change = edited.correct.astype(np.float64) - self.base.correct
        return Spread.of(float(change.mean()), mean_replicates(change[None], self._search_resamples))

    def _scores(self, measured: Measured) -> Array:
        return np.concatenate([measured.members, measured.search])

    def _aucs(self, measured: Measured) -> Array:
        return auc_replicates(self._scores(measured)[None], self._is_member, self._resamples)

    def _null(self, edited: Measured) -> Array:
        before, after, labels = self._scores(self.base), self._scores(edited), self._is_member[0]
        return np.array([auc(before, labels[p]) - auc(after, labels[p]) for p in self._permutations])


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
