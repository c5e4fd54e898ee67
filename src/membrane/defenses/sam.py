"""Sharpness-aware minimization: a control, known to generalize better and to remember more.

Source: Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", arXiv:2010.01412,
equations 2 and 3 with the L2 norm over all weights. Statistics of BatchNorm are those of the first of the two passes.
It is no membership defense: published audits find members easier to tell with it than without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense, Start


@dataclass(frozen=True)
class SAM(Defense):
    """Each update takes the gradient ``rho`` uphill from the weights.

    Args:
        rho: Length of the step uphill, 0 or more; 0 is the undefended baseline.

    Raises:
        SettingError: If ``rho`` lies outside its range.
    """

    name: ClassVar[str] = "sam"
    source: ClassVar[str] = "Foret et al. 2021, arXiv:2010.01412"
    strength: ClassVar[str | None] = "rho"
    does_not_stop: ClassVar[str] = "any attack: a control that improves generalization without protecting members"
    notes: ClassVar[str] = "a control, not a defense to ship; two passes for each update"

    rho: float = 0.05

    def __post_init__(self) -> None:
        check(self, rho=(0 <= self.rho < inf, "0 or more"))

    def prepared(self, start: Start) -> Defense:
        return _Uphill(self.rho, start) if self.rho > 0 else self


class _Uphill(Defense):
    """One training that remembers its batch, to look at it twice."""

    def __init__(self, rho: float, start: Start) -> None:
        self.rho, self.device = rho, start.device.type
        self.low = start.recipe.precision == "bfloat16"

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        self.now = batch, epoch
        return super().loss(logits, batch, epoch)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        moved = [(p, p.detach().clone(), p.grad) for p in model.parameters() if p.grad is not None]
        length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for _, _, g in moved]))
        with torch.no_grad():
            for parameter, _, gradient in moved:
                parameter.add_(gradient, alpha=self.rho / max(float(length), 1e-12))
        optimizer.zero_grad(set_to_none=True)
        batch, epoch = self.now
        with _still_statistics(model), torch.autocast(self.device, torch.bfloat16, enabled=self.low):
            logits = model(batch.x)
        Defense.loss(self, logits.float(), batch, epoch).mean().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter, before, _ in moved:
                parameter.copy_(before)
        optimizer.step()


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorm normalizes by the batch inside, and notes nothing."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    kept = [(layer, layer.running_mean, layer.running_var) for layer in layers]
    for layer in layers:
        layer.running_mean = layer.running_var = None
    try:
        yield
    finally:
        for layer, mean, variance in kept:
            layer.running_mean, layer.running_var, layer.track_running_stats = mean, variance, True
