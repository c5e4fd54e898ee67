"""Twin swap: hybrids of two networks that differ in some members alone, and the Shapley value of every region.

A swapped region is as well trained as the one whose place it takes, so what changes is whose members it has seen, and
not how well it works. A hybrid takes the regions S from the first twin and the rest from the second; its mirror takes
the opposite. The difference of their rescaled logits on an example is free of how hard the example is, and v(S) is
how well it tells the first twin's own examples from the second's (AUC). Risk is the Shapley value of v: its sum over
the regions is 2 v(all) - 1 exactly.

Source: design of this project; Shapley 1953, "A Value for n-Person Games"; antithetic permutations as in Mitchell et
al. 2022, "Sampling Permutations for Shapley Value Estimation", arXiv:2104.12199.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.data.examples import Examples, joined
from membrane.metrics import auc, auc_replicates, resample
from membrane.models import logits_of
from membrane.pptp.locators.gap_allocation import history
from membrane.pptp.locators.judge import N_RESAMPLES, Array, Scores, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.locators.mix_response import early_window
from membrane.pptp.locators.twins import Twins, fork_twins
from membrane.pptp.probe import Probe, rescaled_logits
from membrane.pptp.risk_map import RiskMap
from membrane.regions import calibration_sample, recalibrate, swap

Orders = npt.NDArray[np.int64]
GATE = 0.05  # accuracy that a hybrid may lose against the worse twin
SATURATED = 0.995  # AUC above which examples cannot become easier to tell apart


@dataclass(frozen=True)
class TwinSwap(Locator):
    """How much of the membership signal moves with a region when it is swapped between twins.

    Args:
        fork: Epoch after which the twins part, if they are to be trained; the end of the early window if not given.
        exact: Regions up to which all hybrids are measured; with more, permutations are drawn.
        permutations: Drawn in pairs, each with its reverse.
    """

    name: ClassVar[str] = "twin_swap"
    source: ClassVar[str] = "ours; Shapley 1953, arXiv:2104.12199 (antithetic permutations)"
    kind: ClassVar[Kind] = "causal"
    extra_data: ClassVar[str] = "twins, or a recipe to train two from an early epoch"
    notes: ClassVar[str] = (
        "in AUC; regions sum to 2 v(all) - 1. Locates what twins learn, which are not the model itself"
    )

    fork: int | None = None
    exact: int = 7
    permutations: int = 20

    def __post_init__(self) -> None:
        if self.exact < 1 or self.permutations < 2:
            raise SettingError(
                f"twin_swap: exact is {self.exact} and permutations {self.permutations}; they must be 1 and 2 or more."
            )

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map; in ``flags`` whether the twins are near enough for it to mean anything."""
        start = time.perf_counter()
        probe = subject.probe
        twins = subject.twins or fork_twins(subject, self._fork(probe), generator)
        n = len(probe.partition.names)
        numbers = np.random.default_rng(spawn_seed(generator))
        orders = None if n <= self.exact else antithetic(n, self.permutations, numbers)
        masks, weights = shapley_weights(n, orders)
        measured = measure_hybrids(twins, probe, masks, progress)
        scores = _scores(measured.differences, len(twins.of_first), weights, numbers)
        flags = _flags(measured, told_apart=(1 + float(scores.values.sum())) / 2)
        return risk_map(self.name, "AUC", probe, scores, start, flags=flags)

    def _fork(self, probe: Probe) -> int:
        """The epoch named, or the last whose weights were kept up to the end of the early window."""
        if self.fork is not None:
            return self.fork
        end = early_window(probe.trail)[1]
        return max((epoch for epoch in history(probe) if epoch <= end), default=0)


@dataclass(frozen=True)
class Hybrids:
    """What hybrids say.

    Args:
        differences: (M, N) rescaled logits of each hybrid minus its mirror's, the first twin's examples first.
        accuracies: (M,) of the hybrids on unseen examples.
        intact: Accuracy of the worse twin.
    """

    differences: Array
    accuracies: Array
    intact: float


def measure_hybrids(twins: Twins, probe: Probe, masks: list[int], progress: Progress = silent) -> Hybrids:
    """Every hybrid that bits of a mask describe: region i comes from the first twin if bit i is set."""
    n = len(probe.partition.names)
    everything = (1 << n) - 1
    sample = calibration_sample(twins.common.x)
    both = joined(twins.of_first, twins.of_second)
    logits: dict[int, Array] = {}
    accuracies: dict[int, float] = {}
    needed = sorted({everything & m for mask in (*masks, 0) for m in (mask, ~mask)})
    for done, mask in enumerate(needed, 1):
        names = [name for i, name in enumerate(probe.partition.names) if mask >> i & 1]
        work = probe.holding(swap(twins.second, twins.first, probe.partition.keys(names))[0])
        recalibrate(work, sample, augment=probe.augment)
        logits[mask] = rescaled_logits(logits_of(work, both), both)
        accuracies[mask] = _accuracy(work, twins.unseen)
        progress("hybrids", done, len(needed))
    differences = np.stack([logits[mask] - logits[everything & ~mask] for mask in masks])
    return Hybrids(differences, np.array([*accuracies.values()]), min(accuracies[0], accuracies[everything]))


def _accuracy(model: torch.nn.Module, examples: Examples) -> float:
    return float((logits_of(model, examples).argmax(1) == examples.y).double().mean())


def shapley_weights(n: int, orders: Orders | None = None) -> tuple[list[int], Array]:
    """Sets of players as bit masks, and the matrix (n, M) that makes Shapley values of what the sets are worth.

    Args:
        n: Players.
        orders: (P, n) permutations to average over; all sets, exactly, if not given.
    """
    found: dict[int, Array] = {}

    def add(mask: int, player: int, weight: float) -> None:
        found.setdefault(mask, np.zeros(n))[player] += weight

    if orders is None:
        for player, mask in itertools.product(range(n), range(1 << n)):
            if not mask >> player & 1:
                weight = 1 / (n * math.comb(n - 1, mask.bit_count()))
                add(mask | 1 << player, player, weight)
                add(mask, player, -weight)
    else:
        for order in orders:
            mask = 0
            for player in map(int, order):
                add(mask, player, -1 / len(orders))
                mask |= 1 << player
                add(mask, player, 1 / len(orders))
    return list(found), np.stack(list(found.values()), axis=1)


def antithetic(n: int, count: int, generator: np.random.Generator) -> Orders:
    """(count, n) permutations in pairs, each followed by its reverse."""
    drawn = [generator.permutation(n) for _ in range((count + 1) // 2)]
    return np.stack([one for order in drawn for one in (order, order[::-1])])


def _scores(differences: Array, n_first: int, weights: Array, generator: np.random.Generator) -> Scores:
    n = differences.shape[1]
    labels = np.arange(n) < n_first
    resamples = resample(1, n, N_RESAMPLES, generator, models=False)
    permuted = [generator.permutation(labels) for _ in range(N_RESAMPLES)]

    def shapley(worth: Callable[[Array], Array]) -> Array:
        return np.stack([np.atleast_1d(worth(one)) for one in differences], axis=-1) @ weights.T

    return Scores(
        shapley(lambda one: np.array(auc(one, labels)))[0],
        shapley(lambda one: auc_replicates(one[None], labels[None], resamples)),
        shapley(lambda one: np.array([auc(one, other) for other in permuted])),
    )


def _flags(measured: Hybrids, told_apart: float) -> list[str]:
    lost = measured.intact - float(measured.accuracies.min())
    flags = []
    if told_apart > SATURATED:
        flags.append(
            f"saturated: the twins' own examples are told apart in {told_apart:.1%} of pairs, so that several regions "
            "may each suffice and share what any one of them carries"
        )
    if lost > GATE:
        flags.append(
            f"twins too far apart: a hybrid loses {100 * lost:.0f} points of accuracy, so that swapping damages more "
            "than it moves memory. Fork later, or leave fewer members apart"
        )
    return flags
