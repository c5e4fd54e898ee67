"""PAST: a short tuning after training, with an L1 penalty on the weights that make members' losses lower.

Source: Hu, Zhang, Wei 2024, "Defending Membership Inference Attacks via Privacy-Aware Sparsity Tuning",
arXiv:2410.06814. The loss is CE + ``weight`` sum of gamma_i
|theta_i| over all weights, where G is the mean loss of non-members less that of members, M is the layer that holds
theta_i, and gamma_i = |M| |dG/dtheta_i| / sum over M of |dG/dtheta_j|: 1 on average in each layer. A reading, put
together from the abstract and reviews: absolute values are ours; gamma is taken anew before each epoch, on up to
``sample`` examples of either side drawn then; it is raised to the power of ``focus`` and made 1 on average again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import spawn_seed, torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, as_inputs
from membrane.defenses.ranges import check, holdout_of
from membrane.regions import copy_state
from membrane.training.defense import Defense, Finished, Stage, Start, Trained
from membrane.training.loop import fit
from membrane.training.recipe import Recipe

_FEWEST = 10  # of the holdout


@dataclass(frozen=True)
class PAST(Defense):
    """Tune the trained model under an L1 penalty where it tells members from others.

    Args:
        weight: Of the penalty, 0 or more; 0 is the undefended baseline, without tuning.
        focus: Power of gamma, 0 or more; 0 is the plain L1 norm.
        epochs: Of the tuning, 1 or more.
        lr: Its peak learning rate, above 0; warm-up and cosine as in the recipe.
        sample: Examples of either side that G is taken on, 1 or more.

    Raises:
        SettingError: If a setting lies outside its range; in training, if there is no holdout.
    """

    name: ClassVar[str] = "past"
    source: ClassVar[str] = "Hu, Zhang, Wei 2024, arXiv:2410.06814"
    strength: ClassVar[str | None] = "weight"
    acts_on: ClassVar[Stage] = "release"
    extra_data: ClassVar[str] = "holdout: non-members, whose losses say which weights to shrink"
    does_not_stop: ClassVar[str] = "not tested by its source against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "from its abstract and reviews; a tuning of its own after the undefended training"
    reading: ClassVar[bool] = True

    weight: float = 3e-3
    focus: float = 1.0
    epochs: int = 20
    lr: float = 0.05
    sample: int = 1000

    def __post_init__(self) -> None:
        check(
            self,
            weight=(0 <= self.weight < inf, "0 or more"),
            focus=(0 <= self.focus < inf, "0 or more"),
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0"),
            sample=(self.sample >= 1, "1 or more"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether there are non-members to compare with."""
        if self.weight == 0 or n_holdout >= _FEWEST:
            return []
        return [
            f"{self.name} compares members with a holdout of {_FEWEST} or more; there are {n_holdout}. Set holdout."
        ]

    def trained_as(self) -> Defense:
        """Plain training: the tuning is a second one, after it."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The tuned model."""
        if self.weight == 0:
            return Finished(trained.model)
        tuning = _Tuning(self, holdout_of(self, trained))
        recipe = trained.recipe.again(self.epochs, self.lr, tuning)
        begin = copy_state(trained.model)
        done = fit(recipe, trained.members, None, spawn_seed(generator), begin=begin)
        return Finished(done.model, {"tuned_epochs": self.epochs, "seconds": done.seconds})


def shares(slopes: list[Tensor], focus: float) -> list[Tensor]:
    """Gamma of the weights of one layer, 1 on average, from the slopes of the loss gap; all 1 where there are none."""
    sizes = [slope.abs() ** focus for slope in slopes]
    total, n = float(sum(size.sum() for size in sizes)), sum(size.numel() for size in sizes)
    return [size * (n / total) if total > 0 else torch.ones_like(size) for size in sizes]


class _Tuning(Defense):
    """One tuning, and what it penalizes."""

    def __init__(self, settings: PAST, holdout: Examples) -> None:
        self.settings, self.holdout = settings, holdout
        self.gammas: list[tuple[nn.Parameter, Tensor]] = []

    def prepared(self, start: Start) -> Defense:
        self.start, self.generator = start, torch_generator(start.seed, "past")
        self._weigh(start.model)
        return self

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        penalty = sum((gamma * parameter.abs()).sum() for parameter, gamma in self.gammas)
        return super().loss(logits, batch, epoch) + self.settings.weight * penalty

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        self._weigh(model)

    def _weigh(self, model: nn.Module) -> None:
        was = model.training
        model.eval()
        layers = [[p for p in m.parameters(recurse=False) if p.requires_grad] for m in model.modules()]
        layers = [layer for layer in layers if layer]
        slopes = self._slopes(model, [p for layer in layers for p in layer])
        self.gammas = [
            (p, gamma)
            for layer in layers
            for p, gamma in zip(layer, shares([slopes[p] for p in layer], self.settings.focus), strict=True)
        ]
        model.train(was)

    def _slopes(self, model: nn.Module, parameters: list[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """How the loss gap changes with each weight."""
        slopes = {p: torch.zeros_like(p) for p in parameters}
        for side, sign in ((self.start.members, -1.0), (self.holdout, 1.0)):
            drawn = torch.randperm(len(side), generator=self.generator)[: self.settings.sample]
            for index in torch.split(drawn, self.start.recipe.batch_size):
                some = side[index]
                logits = model(as_inputs(some.x[:]).to(self.start.device)).float()
                loss = F.cross_entropy(logits, some.y.to(self.start.device), reduction="sum") / len(drawn)
                for p, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    slopes[p] += sign * slope
        return slopes
