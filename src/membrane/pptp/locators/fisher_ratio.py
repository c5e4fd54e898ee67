"""Fisher ratio by region: how much less the loss bends for members than for non-members at the final weights.

The diagonal Fisher information of a set of examples is the mean of the squared gradients of their log-likelihood.

Source: Selective Synaptic Dampening, Foster, Schoepf and Brintrup 2024, arXiv:2308.07707, which selects weights whose
Fisher information on the examples to forget is large against that on the whole training set. Where we differ: sums
over a region instead of single weights; and the members in question here are a random sample of the training set, for
which that ratio is 1 everywhere, so non-members take the place of the training set. A fitted member has less of a
gradient than a non-member; the score is the logarithm of non-members' over members' information. A comparison: what
it finds in a fitted network is mostly that losses differ, in every region alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.data.examples import joined
from membrane.pptp.locators.gradients import Gradients, losses, squared_norm
from membrane.pptp.locators.judge import Array, contrast, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.risk_map import RiskMap


@dataclass(frozen=True)
class FisherRatio(Locator):
    """Logarithm of non-members' Fisher information over members', summed over each region.

    Args:
        examples: Members, and non-members, whose own gradients are computed.
    """

    name: ClassVar[str] = "fisher_ratio"
    source: ClassVar[str] = "Foster et al. 2024, arXiv:2308.07707 (SSD), by region, non-members for the training set"
    kind: ClassVar[Kind] = "comparison"
    notes: ClassVar[str] = "natural logarithm of a ratio, 0 is no difference; for comparison"

    examples: int = 400

    def __post_init__(self) -> None:
        if self.examples < 2:
            raise SettingError(f"fisher_ratio: examples is {self.examples}; it must be 2 or more.")

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map."""
        start = time.perf_counter()
        probe = subject.probe
        parts = probe.members[: self.examples], probe.search[: self.examples]
        gradients = Gradients(probe.model, probe.partition)
        norms = gradients.of_examples(probe.final, joined(*parts), losses, squared_norm)
        is_member = np.arange(len(norms)) < len(parts[0])
        scores = contrast(norms, is_member, _log_ratio, np.random.default_rng(spawn_seed(generator)))
        return risk_map(self.name, "log ratio", probe, scores, start)


def _log_ratio(members: Array, non_members: Array) -> Array:
    tiny = np.finfo(np.float64).tiny  # a gradient of exactly 0 in float32
    ratio: Array = np.log(np.maximum(non_members, tiny)) - np.log(np.maximum(members, tiny))
    return ratio
