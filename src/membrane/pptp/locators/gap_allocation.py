"""Gap allocation: which region's movement opened the gap between members and non-members, summed along training.

The gap is the mean probability of the label on members minus that on non-members. Its growth from the first kept
epoch to the last is a path integral, and the part of each region is the integral of the gap's gradient against that
region's own movement. Parts sum to the growth up to the integration's error, which is flagged. The same sums of the
holdout's probability alone say which region's movement made the network generalize.

Source: Lan et al. 2019, "LCA: Loss Change Allocation for Neural Network Training", NeurIPS 2019, arXiv:1909.01440.
Where we differ: the gap in place of the loss; a bounded quantity, since differences of losses grow with the scale of
the logits; two Gauss-Legendre nodes in each stretch between kept epochs (theirs: Simpson's rule in every update);
normalization statistics are coordinates of the path, so that the sum closes. Not causal: another path to the same
weights would allocate otherwise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.data.examples import Examples
from membrane.models import logits_of
from membrane.pptp.locators.gradients import Gradients, probabilities, steps
from membrane.pptp.locators.judge import N_RESAMPLES, Array, contrast, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.probe import Probe
from membrane.pptp.risk_map import RiskMap, Spread
from membrane.regions import mix
from membrane.regions.edit import State

NODES = (0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5)  # Gauss-Legendre on 0 to 1, weights one half each
TOLERANCE = 0.1  # part of the growth that may get lost between the nodes


@dataclass(frozen=True)
class GapAllocation(Locator):
    """Growth of the gap between members' and non-members' probability that a region's movement made.

    Args:
        batch: Examples whose mean is one observation of the bootstrap and of the null.
    """

    name: ClassVar[str] = "gap_allocation"
    source: ClassVar[str] = "Lan et al. 2019, arXiv:1909.01440 (LCA), applied to the member gap"
    kind: ClassVar[Kind] = "allocation"
    notes: ClassVar[str] = "in probability; regions sum to the gap's growth. One training, no further models"

    batch: int = 25

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingError(f"gap_allocation: batch is {self.batch}; it must be 1 or more.")

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map; in ``flags`` what the sum misses."""
        start = time.perf_counter()
        probe = subject.probe
        states = list(history(probe).values())
        parts = [allocated(probe, states, part, self.batch, progress) for part in (probe.members, probe.search)]
        is_member = np.arange(sum(map(len, parts))) < len(parts[0])
        numbers = np.random.default_rng(spawn_seed(generator))
        scores = contrast(np.concatenate(parts), is_member, lambda m, n: m - n, numbers)
        growth = [grown(probe, states, part) for part in (probe.members, probe.search)]
        flags = _missed(float(scores.values.sum()), growth[0] - growth[1])
        accuracy = [_lost(column, numbers) for column in parts[1].T]
        return risk_map(self.name, "probability", probe, scores, start, accuracy_change=accuracy, flags=flags)


def history(probe: Probe) -> dict[int, dict[str, Tensor]]:
    """All of the network at every epoch whose weights were kept, by epoch, the final weights last.

    Raises:
        SettingError: If there are fewer than two.
    """
    trail, states = probe.trail, {}
    for epoch in trail.epochs[:-1]:
        try:
            states[epoch] = mix(probe.final, trail.at(epoch), 0.0, probe.final.keys())
        except SettingError:  # in a trail of epochs' ends, those whose neighbour was let go
            continue
    if not states:
        raise SettingError("the trail kept no epoch before the last, so there is no path; keep more epochs.")
    return {**states, trail.n_epochs - 1: dict(probe.final)}


def allocated(
    probe: Probe, states: list[dict[str, Tensor]], examples: Examples, batch: int, progress: Progress = silent
) -> Array:
    """(G, R), growth of the label's mean probability on each of G batches, by the region whose movement made it."""
    gradients = Gradients(probe.model, probe.partition)
    total = np.zeros((len(examples) // batch, len(probe.partition.regions)))
    for done, (before, moved) in enumerate(steps(states), 1):
        for node in NODES:
            there = {k: v + node * moved[k] if k in moved else v for k, v in before.items()}
            found = gradients.of_batches(there, examples, batch, probabilities)
            total += 0.5 * np.stack([gradients.dots(one, moved) for one in found])
        progress("path", done, len(states) - 1)
    return total


def grown(probe: Probe, states: list[dict[str, Tensor]], examples: Examples) -> float:
    """Growth of the label's mean probability from the first of the states to the last, measured directly."""
    first, last = (_mean_probability(probe, states[end], examples) for end in (0, -1))
    return last - first


def _mean_probability(probe: Probe, state: State, examples: Examples) -> float:
    return float(probabilities(logits_of(probe.holding(state), examples), examples.y).double().mean())


def _missed(allocated_: float, growth: float) -> list[str]:
    if abs(allocated_ - growth) <= TOLERANCE * abs(growth) + 0.005:
        return []
    return [
        f"the regions sum to {allocated_:+.3f} and the gap grew by {growth:+.3f}: the path is too coarse between kept "
        "epochs. Train again with a longer trail (keep = null keeps every epoch)"
    ]


def _lost(growth: Array, generator: np.random.Generator) -> Spread:
    """Expected accuracy that would be lost without what a region's movement brought the holdout."""
    drawn = generator.integers(len(growth), size=(N_RESAMPLES, len(growth)))
    return Spread.of(-float(growth.mean()), -growth[drawn].mean(1))
