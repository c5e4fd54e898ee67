"""SWA: a constant rate towards the end of training, and the mean of the weights that it passes through.

Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407,
with a constant rate and one snapshot for each epoch; the average is torch's own. ``weight_averaging`` has the mean over
any window of the undefended training instead, whose rate goes on falling.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from membrane.data.loader import Batch, Loader
from membrane.defenses.ranges import check
from membrane.regions import copy_state
from membrane.training.defense import Defense, Finished, Stage, Start, Trained


@dataclass(frozen=True)
class SWA(Defense):
    """Mean of the weights at the ends of the epochs from ``start`` on, normalization statistics recomputed.

    Args:
        start: First epoch of the constant rate, from 0; at or beyond the recipe's epochs it is the undefended baseline.
        lr: The constant rate, above 0.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "swa"
    source: ClassVar[str] = "Izmailov et al. 2018, arXiv:1803.05407"
    strength: ClassVar[str | None] = "start"
    acts_on: ClassVar[Stage] = "both"
    does_not_stop: ClassVar[str] = "attacks with references (LiRA): it is made for accuracy, and trains to the end"
    notes: ClassVar[str] = "earlier starts average more; as in the paper, at the end of training"

    start: int = 18
    lr: float = 0.05

    def __post_init__(self) -> None:
        check(self, start=(self.start >= 0, "0 or more"), lr=(0 < self.lr < inf, "above 0"))

    def prepared(self, start: Start) -> Defense:
        return _Averaging(self, start) if self.start < start.recipe.n_epochs else self

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The mean, with its statistics."""
        if self.start >= trained.recipe.n_epochs:
            return Finished(trained.model)
        return Finished(trained.edited(copy_state(trained.model)), {"averaged": trained.recipe.n_epochs - self.start})


class _Averaging(Defense):
    """One training with its mean, which it puts into the model at its end."""

    def __init__(self, settings: SWA, start: Start) -> None:
        self.settings, self.last = settings, start.recipe.n_epochs - 1
        self.mean: AveragedModel | None = None

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        self.optimizer = optimizer
        return model, optimizer, loader

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        """The batch as it is; the rate is set for it."""
        if epoch >= self.settings.start:
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.lr
        return batch

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch < self.settings.start:
            return
        self.mean = self.mean or AveragedModel(model)
        self.mean.update_parameters(model)
        if epoch == self.last:
            with torch.no_grad():
                for parameter, mean in zip(model.parameters(), self.mean.module.parameters(), strict=True):
                    parameter.copy_(mean)
