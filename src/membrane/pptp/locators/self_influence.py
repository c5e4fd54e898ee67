"""Self-influence by region: how much of a region's gradient an example makes for itself alone.

For region r and checkpoints t with learning rates lr_t, an example's influence on itself is the sum of lr_t
|g_r(x)|^2, and on others the sum of lr_t <g_r(x), g_r(V)>, V non-members. Risk is the first over the second, on
members: large where members move the region in directions that help nobody else. The ratio is free of the scale of
gradients, which differs between layers.

Source: TracIn, Pruthi et al. 2020, "Estimating Training Data Influence by Tracing Gradient Descent",
arXiv:2002.08484, equation for checkpoints (TracInCP), split by region; the ratio is ours. The denominator is at least
a hundredth of the numerator, so that a region whose members help nobody is not infinitely risky. Fitted members have
no gradient left, so early checkpoints decide. A comparison: it changes nothing and measures no leakage.
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
from membrane.data.examples import Examples, joined
from membrane.pptp.locators.gap_allocation import history
from membrane.pptp.locators.gradients import Gradients, losses, squared_norm
from membrane.pptp.locators.judge import Array, contrast, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.risk_map import RiskMap

FLOOR = 0.01  # of the denominator, as a fraction of the numerator


@dataclass(frozen=True)
class SelfInfluence(Locator):
    """Members' influence on themselves over their influence on non-members.

    Args:
        checkpoints: Kept epochs that are looked at, evenly spread over the trail.
        examples: Members, and non-members, whose own gradients are computed.
    """

    name: ClassVar[str] = "self_influence"
    source: ClassVar[str] = "Pruthi et al. 2020, arXiv:2002.08484 (TracInCP), by region; ratio ours"
    kind: ClassVar[Kind] = "comparison"
    notes: ClassVar[str] = "a ratio, 1 to 100 where members influence themselves most; for comparison"

    checkpoints: int = 4
    examples: int = 200

    def __post_init__(self) -> None:
        if self.checkpoints < 1 or self.examples < 2:
            raise SettingError(
                f"self_influence: checkpoints is {self.checkpoints} and examples {self.examples}; they must be 1 and 2 "
                "or more."
            )

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map. Its null exchanges members with non-members that V does not hold."""
        start = time.perf_counter()
        probe = subject.probe
        gradients = Gradients(probe.model, probe.partition)
        half = len(probe.search) // 2
        others, kept = probe.search[:half], probe.search[half:][: self.examples]
        members = probe.members[: self.examples]
        units = np.zeros((len(members) + len(kept), 2 * len(probe.partition.regions)))
        for done, (state, rate) in enumerate(_checkpoints(subject, self.checkpoints), 1):
            units += rate * _influences(gradients, state, joined(members, kept), others)
            progress("checkpoints", done, self.checkpoints)
        numbers = np.random.default_rng(spawn_seed(generator))
        is_member = np.arange(len(members) + len(kept)) < len(members)
        scores = contrast(units, is_member, _ratio, numbers)
        return risk_map(self.name, "ratio", probe, scores, start)


def _checkpoints(subject: Subject, count: int) -> list[tuple[dict[str, Tensor], float]]:
    """States spread over the history, each with its learning rate; equal ones where the recipe is not known."""
    states = history(subject.probe)
    epochs = list(states)
    chosen = [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, count).round().astype(int))]
    recipe = subject.recipe
    return [(states[epoch], recipe.lr_at(epoch, 1) if recipe else 1.0) for epoch in chosen]


def _influences(gradients: Gradients, state: dict[str, Tensor], examples: Examples, others: Examples) -> Array:
    """(N, 2 R): influence on oneself by region, then on the others."""
    mean = next(gradients.of_batches(state, others, len(others), losses))
    norms = gradients.of_examples(state, examples, losses, squared_norm)

    def on_others(found: dict[str, Tensor]) -> Tensor:
        return torch.stack([one.flatten(1) @ mean[key].flatten().to(one) for key, one in found.items()]).sum(0)

    return np.concatenate([norms, gradients.of_examples(state, examples, losses, on_others)], axis=1)


def _ratio(members: Array, _non_members: Array) -> Array:
    on_self, on_others = np.split(members, 2, axis=-1)
    ratio: Array = on_self / np.maximum(on_others, FLOOR * on_self)
    return ratio
