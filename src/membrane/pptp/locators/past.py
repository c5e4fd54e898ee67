"""PAST by region: how strongly the loss gap between members and non-members depends on a region's weights.

The sensitivity of a weight is the absolute derivative of the gap (mean loss of non-members minus that of members)
with respect to it, at the final weights; a region's score is the mean over its parameters.

Source: PAST, "Defending against Membership Inference by Privacy-Aware Sparsity Tuning", 2024, arXiv:2410.06814. Where
we differ: PAST weighs single parameters and normalizes within a module; it was not made to rank modules, and nothing
of its training is used. Taylor scores |w d(gap)/dw| are left out: the scale of w is common to them and to every other
score that has it, which makes scores agree for no reason. Absolute values of a noisy gradient are not 0 without a
gap: read the score against its null. A comparison.
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
from membrane.pptp.locators.gradients import Gradients, losses
from membrane.pptp.locators.judge import N_RESAMPLES, Array, Scores, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.probe import Probe
from membrane.pptp.risk_map import RiskMap


@dataclass(frozen=True)
class Past(Locator):
    """Mean absolute derivative of the loss gap with respect to a region's parameters.

    Args:
        batches: Of members, and of non-members, whose gradients are computed apart, for interval and null.
    """

    name: ClassVar[str] = "past"
    source: ClassVar[str] = "arXiv:2410.06814 (PAST), mean over a region"
    kind: ClassVar[Kind] = "comparison"
    notes: ClassVar[str] = "nats for one unit of weight; not made to rank regions, for comparison"

    batches: int = 12

    def __post_init__(self) -> None:
        if self.batches < 4:
            raise SettingError(f"past: batches is {self.batches}; it must be 4 or more.")

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map. Its interval is a jackknife over batches: resampling would add noise to absolute values."""
        start = time.perf_counter()
        probe = subject.probe
        of_members, of_others = _flat_gradients(probe, self.batches)
        numbers = np.random.default_rng(spawn_seed(generator))
        scores = _scores(of_members, of_others, _owners(probe), numbers)
        return risk_map(self.name, "nats per unit", probe, scores, start)


def _parameters(probe: Probe) -> list[str]:
    return [name for name, _ in probe.model.named_parameters() if name in probe.final]


def _owners(probe: Probe) -> Tensor:
    """(D,), the region that each parameter belongs to."""
    of_key = {key: i for i, region in enumerate(probe.partition.regions) for key in region.keys}
    return torch.cat([torch.full((probe.final[k].numel(),), of_key[k]) for k in _parameters(probe)])


def _flat_gradients(probe: Probe, batches: int) -> tuple[Tensor, Tensor]:
    """(G, D) of members and (G, D) of non-members."""
    gradients, keys = Gradients(probe.model, probe.partition), _parameters(probe)
    members, others = (
        torch.stack(
            [
                torch.cat([one[k].flatten() for k in keys])
                for one in gradients.of_batches(probe.final, part, len(part) // batches, losses)
            ][:batches]
        )
        for part in (probe.members, probe.search)
    )
    return members, others


def _scores(of_members: Tensor, of_others: Tensor, owners: Tensor, generator: np.random.Generator) -> Scores:
    n, together = len(of_members), torch.cat([of_members, of_others])
    signs = np.where(np.arange(len(together)) < n, -1.0, 1.0)
    size = torch.bincount(owners).double()

    def of(weights: Array) -> Array:
        """(W, R) from weights (W, G) of the batches in the gap."""
        gaps = (torch.from_numpy(weights).float() @ together).abs()
        sums = torch.zeros(len(gaps), len(size), dtype=torch.float64).index_add_(1, owners, gaps.double())
        return np.asarray((sums / size).numpy())

    value = of(signs[None] / n)[0]
    without = np.array([[0.0 if j == i else s for j, s in enumerate(signs)] for i in range(len(signs))])
    counts = np.stack([(without < 0).sum(1), (without > 0).sum(1)], axis=1)
    left_out = of(np.where(without < 0, without / counts[:, :1], without / counts[:, 1:]))
    variance = sum((n - 1) / n * ((part - part.mean(0)) ** 2).sum(0) for part in (left_out[:n], left_out[n:]))
    replicates = value + np.sqrt(variance) * generator.standard_normal((N_RESAMPLES, 1))
    return Scores(value, replicates, of(np.stack([generator.permutation(signs) for _ in range(N_RESAMPLES)]) / n))
