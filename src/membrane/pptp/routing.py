"""Gradient routing: a protecting loss moves the risky regions, the plain loss moves the rest, in one training.

Ours, after the split of updates by parameter that multi-task learning knows; as a protection of regions it follows Fang
and Kim 2026, arXiv:2602.02296, whose abstract protects some regions and leaves others to generalize. One forward pass
and two backward passes for each update. The update is not the gradient of any one loss: with losses that ascend
(RelaxLoss, CRL) the rest keeps lowering what the regions raise, so a level set for the whole network is not that of
a part, and both losses want watching.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.data.examples import Examples
from membrane.data.loader import Batch, as_inputs
from membrane.defenses import CCL
from membrane.regions import partition
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe

_MORE_THAN_A_LOSS = ("adapt", "wrap", "batch", "step", "end_epoch", "trained_as", "finish", "release")
_NOT_ROUTED = ("wrap", "step")  # of what a defense prepares for one training


@dataclass(frozen=True)
class GradientRouting(Defense):
    """Regions follow another defense's loss, all else follows cross-entropy.

    Args:
        regions: Names of the regions that are protected, as the network's partition has them; none is the undefended
            baseline, all is ``inner``.
        inner: A defense that is a loss (or targets): label_smoothing, confidence_penalty, focal_loss, relaxloss,
            hamp_training, ccl, kcd, selena, neuguard.

    Raises:
        SettingError: If ``inner`` is more than a loss; in training, if a region does not exist.
    """

    name: ClassVar[str] = "gradient_routing"
    source: ClassVar[str] = "ours, on the principle of Fang and Kim 2026, arXiv:2602.02296"
    extra_data: ClassVar[str] = "what inner needs"
    does_not_stop: ClassVar[str] = "what inner does not stop; what the other regions remember, which inner leaves alone"
    notes: ClassVar[str] = "two backward passes for each update; strengths found for whole networks do not carry over"

    regions: tuple[str, ...] = ()
    inner: Defense = field(default_factory=CCL)

    def __post_init__(self) -> None:
        more = self.inner.overrides(*_MORE_THAN_A_LOSS)
        if more or self.inner.trains_on_holdout:
            why = f"has its own {more[0]}" if more else "trains on the holdout"
            raise SettingError(
                f"gradient_routing cannot route {self.inner.name!r}, which is more than a loss: it {why}. Take a "
                "defense that is one, such as relaxloss or ccl."
            )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Those of the inner defense."""
        return self.inner.mistakes(recipe, n_members, n_holdout)

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of the inner defense."""
        return self.inner.data_mistakes(recipe, members, holdout)

    def prepared(self, start: Start) -> Defense:
        inner = self.inner.prepared(start)
        if inner.overrides(*_NOT_ROUTED):
            raise SettingError(
                f"gradient_routing cannot route {self.inner.name!r} as it is set: it moves more than the network."
            )
        return _Routed(self.regions, inner, start)


class _Routed(Defense):
    """One training with two losses."""

    def __init__(self, regions: tuple[str, ...], inner: Defense, start: Start) -> None:
        self.inner = inner
        keys = partition(start.model, as_inputs(start.members.x[:2]).to(start.device)).keys(regions)
        moved = [(name, p) for name, p in start.model.named_parameters() if p.requires_grad]
        self.protected = [p for name, p in moved if name in keys]
        self.rest = [p for name, p in moved if name not in keys]

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        same = self.inner.batch(batch, epoch, generator)
        assert same is batch  # else labels of the plain loss would not be those of the inputs
        return batch

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """The inner defense's; the plain one waits for the update."""
        self.plain = F.cross_entropy(logits, batch.y, reduction="none").mean()
        return self.inner.loss(logits, batch, epoch)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        for which, parameters in ((loss, self.protected), (self.plain, self.rest)):
            if parameters:
                slopes = torch.autograd.grad(which, parameters, retain_graph=True, allow_unused=True)
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.grad = slope
        optimizer.step()
        del self.plain

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        self.inner.end_epoch(model, epoch)
