"""Mixup + MMD: members and non-members of the same class shall get answers of the same distribution.

Source: Li, Li, Ribeiro 2021, "Membership Inference Attacks and Defenses in Classification Models", CODASPY 2021,
arXiv:2002.12062, and the authors' code. Mixup in every epoch. After each but the last, if accuracy on members and
holdout differ by ``gap`` or more, a second pass over the members, in order of class: an update on ``weight`` times
MMD^2 between the answers (softmax) to a batch of members and to as many holdout examples of the same classes, which
are drawn with replacement and get no gradient. Gaussian kernel of width 1; the biased statistic, with the diagonal.
The second pass runs in evaluation mode, as theirs does. Where we differ: their accuracy on members is measured in
training mode, ours in evaluation mode; their draws leave out the last holdout example of each class, ours do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Loader, as_inputs, batches_of
from membrane.defenses.mixup import Mixup
from membrane.defenses.ranges import check, holdout_of
from membrane.models import logits_of
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe

_FEWEST = 8  # in a batch; the biased statistic of fewer is mostly bias, and trains answers to be alike


def mmd2(a: Tensor, b: Tensor, width: float = 1.0) -> Tensor:
    """Squared maximum mean discrepancy of two samples, biased: 0 if they are the same, at most 2.

    Args:
        a: (B, D).
        b: (B', D).
        width: Of the Gaussian kernel exp(-||a - b||^2 / (2 width^2)).
    """
    return _kernel(a, a, width).mean() + _kernel(b, b, width).mean() - 2 * _kernel(a, b, width).mean()


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    squares = (a[:, None] - b[None]).square().sum(2)  # (B, B'); not from norms, which would cancel
    return torch.exp(-squares / (2 * width**2))


@dataclass(frozen=True)
class MixupMMD(Mixup):
    """Mixup, and a second pass that draws members' answers towards those of the holdout.

    Args:
        alpha: Of mixup; 0 does without.
        weight: Of MMD^2, 0 or more; 0 with ``alpha`` 0 is the undefended baseline.
        gap: Difference of accuracy, a fraction, from which on the second pass is made.

    Raises:
        SettingError: If a setting lies outside its range; in training, if the holdout lacks a class.
    """

    name: ClassVar[str] = "mixup_mmd"
    source: ClassVar[str] = "Li, Li, Ribeiro 2021, arXiv:2002.12062"
    strength: ClassVar[str | None] = "weight"
    extra_data: ClassVar[str] = "holdout: non-members of every class, trained on"
    trains_on_holdout: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = "single members that differ while their class agrees; its source is older than LiRA"
    notes: ClassVar[str] = "MMD of softmax answers, biased, width 1, a pass of its own after each epoch but the last"

    weight: float = 3.0
    gap: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self,
            weight=(0 <= self.weight < inf, "0 or more"),
            gap=(0 <= self.gap <= 1, "a fraction from 0 to 1"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether batches and holdout are large enough."""
        if self.weight == 0:
            return []
        found = []
        if min(recipe.batch_size, n_members) < _FEWEST:
            found.append(f"{self.name} compares batches of {_FEWEST} or more; set batch_size to that at least.")
        if n_holdout < _FEWEST:
            found.append(
                f"{self.name} compares members with a holdout of {_FEWEST} or more, of every class; there are "
                f"{n_holdout}. Set holdout."
            )
        return found

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Whether the holdout has every class that members have."""
        if self.weight == 0 or holdout is None:
            return []
        missing = sorted(set(members.y.tolist()) - set(holdout.y.tolist()))
        if not missing:
            return []
        names = ", ".join(members.classes[c] for c in missing[:3])
        return [
            f"{self.name}: the holdout has none of {len(missing)} classes that members have, first {names}. Set aside "
            "a larger holdout."
        ]

    def prepared(self, start: Start) -> Defense:
        if self.weight == 0:
            return self
        return _Matching(self, start)


class _Matching(Mixup):
    """One training with its second pass."""

    def __init__(self, settings: MixupMMD, start: Start) -> None:
        super().__init__(settings.alpha)
        self.settings, self.start, self.holdout = settings, start, holdout_of(settings, start)
        self.generator = torch_generator(start.seed, "mmd")
        self.by_class = [torch.nonzero(self.holdout.y == c)[:, 0] for c in range(len(start.members.classes))]

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        self.optimizer = optimizer
        return model, optimizer, loader

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        members, last = self.start.members, epoch == self.start.recipe.n_epochs - 1
        if last or abs(_accuracy(model, members) - _accuracy(model, self.holdout)) < self.settings.gap:
            return
        model.eval()
        for index in batches_of(torch.argsort(members.y, stable=True), self.start.recipe.batch_size):
            with torch.no_grad():
                matched = self._answers(model, self.holdout, self._drawn(members.y[index]))
            loss = self.settings.weight * mmd2(self._answers(model, members, index), matched)
            self.step(model, self.optimizer, loss)
        model.train()

    def _drawn(self, y: Tensor) -> Tensor:
        """(B,) holdout examples of these classes."""
        places = torch.rand(len(y), generator=self.generator)
        return torch.stack([self.by_class[c][int(u * len(self.by_class[c]))] for c, u in zip(y, places, strict=True)])

    def _answers(self, model: nn.Module, examples: Examples, index: Tensor) -> Tensor:
        x: Tensor = as_inputs(examples[index].x[:])
        return torch.softmax(model(x.to(self.start.device)).float(), 1)


def _accuracy(model: nn.Module, examples: Examples) -> float:
    return float((logits_of(model, examples).argmax(1) == examples.y).double().mean())
