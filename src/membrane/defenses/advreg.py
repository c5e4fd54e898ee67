"""Adversarial regularization: the network learns against a membership attack that learns with it.

Source: Nasr, Shokri, Houmansadr 2018, "Machine Learning with Membership Privacy using Adversarial Regularization", CCS
2018, arXiv:1807.05852, and the authors' code for Purchase: the attack h reads answers (logits) and one-hot labels,
ends in a sigmoid, and is trained by Adam on squared error towards 1 on members and 0 on the holdout; the network's loss
is CE + ``weight`` (mean h - 1/2). Its first epoch is plain while h learns. Where we differ: h makes ``attack_steps``
steps for each of the network's, on batches drawn with replacement (theirs: 52 batches, then 2 of the network's). In the
authors' code for CIFAR the labels of h are the other way round and the term is squared; that one is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, as_inputs
from membrane.defenses.ranges import check, holdout_of
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe

_FEWEST = 10  # of the holdout
_STD = 0.01  # of h's first weights


@dataclass(frozen=True)
class AdvReg(Defense):
    """Cross-entropy plus ``weight`` times how much of a member an attack network takes the batch for.

    Args:
        weight: Of the attack's mean answer, 0 or more; 0 is the undefended baseline.
        attack_steps: Steps of the attack network for each of the network's, 1 or more.
        attack_lr: Learning rate of its Adam, above 0.

    Raises:
        SettingError: If a setting lies outside its range; in training, if there is no holdout.
    """

    name: ClassVar[str] = "advreg"
    source: ClassVar[str] = "Nasr, Shokri, Houmansadr 2018, arXiv:1807.05852"
    strength: ClassVar[str | None] = "weight"
    extra_data: ClassVar[str] = "holdout: non-members for the attack network, which shape the weights, too"
    trains_on_holdout: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = (
        "other attacks than its own: AUC of a network attack 86.99 % against 86.88 % undefended, CIFAR-100 with "
        "augmentation (Fang and Kim 2024, arXiv:2404.17674)"
    )
    notes: ClassVar[str] = "as in the authors' code for Purchase (logits, squared error, first epoch plain)"

    weight: float = 3.0
    attack_steps: int = 5
    attack_lr: float = 0.001

    def __post_init__(self) -> None:
        check(
            self,
            weight=(0 <= self.weight < inf, "0 or more"),
            attack_steps=(self.attack_steps >= 1, "1 or more"),
            attack_lr=(0 < self.attack_lr < inf, "above 0"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the attack network has non-members to learn from."""
        if self.weight == 0 or n_holdout >= _FEWEST:
            return []
        return [f"{self.name} trains its attack on a holdout of {_FEWEST} or more; there are {n_holdout}. Set holdout."]

    def prepared(self, start: Start) -> Defense:
        if self.weight == 0:
            return self
        return _Adversarial(self, start)


class MembershipAttack(nn.Module):
    """h: answers (B, C) and one-hot labels (B, C) to how likely each is a member's (B,), from 0 to 1.

    Args:
        n_classes: C.
        generator: Draws the first weights.
    """

    def __init__(self, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.answers = _layers(n_classes, 1024, 512, 64)
        self.labels = _layers(n_classes, 128, 64)
        self.joint = _layers(128, 512, 256, 128, 64, 1)[:-1]
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=_STD, generator=generator)

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        labels = F.one_hot(y, logits.shape[1]).to(logits.dtype)
        joined = torch.cat([self.answers(logits), self.labels(labels)], 1)
        taken: Tensor = torch.sigmoid(self.joint(joined)[:, 0])
        return taken


def _layers(*widths: int) -> nn.Sequential:
    with torch.device("meta"):  # no weights are drawn from the global generator
        parts = [part for n_in, n_out in pairwise(widths) for part in (nn.Linear(n_in, n_out), nn.ReLU())]
    return nn.Sequential(*parts).to_empty(device="cpu")


class _Adversarial(Defense):
    """One training with its attack network."""

    def __init__(self, settings: AdvReg, start: Start) -> None:
        self.settings, self.model, self.device = settings, start.model, start.device
        self.sides = (start.members, holdout_of(settings, start))
        self.generator = torch_generator(start.seed, "attack")
        self.attack = MembershipAttack(len(start.members.classes), self.generator).to(start.device)
        self.optimizer = torch.optim.Adam(self.attack.parameters(), settings.attack_lr)

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        """The batch as it is; the attack network makes its steps before."""
        self.model.eval()
        for _ in range(self.settings.attack_steps):
            (members, y_members), (others, y_others) = (self._answers(side, len(batch.y)) for side in self.sides)
            taken = self.attack(torch.cat([members, others]), torch.cat([y_members, y_others]))
            truth = torch.arange(len(taken), device=taken.device) < len(y_members)
            self.optimizer.zero_grad()
            F.mse_loss(taken, truth.to(taken)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.model.train()
        return batch

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        loss = super().loss(logits, batch, epoch)
        if epoch == 0:
            return loss
        self.attack.requires_grad_(requires_grad=False)
        taken: Tensor = self.attack(logits, batch.y)  # (B,)
        self.attack.requires_grad_(requires_grad=True)
        return loss + self.settings.weight * (taken - 0.5)

    def _answers(self, side: Examples, n: int) -> tuple[Tensor, Tensor]:
        """Logits (n, C) of examples drawn from one side, and their labels."""
        index = torch.randint(len(side), (n,), generator=self.generator)
        some = side[index]
        with torch.no_grad():
            logits: Tensor = self.model(as_inputs(some.x[:]).to(self.device)).float()
        return logits, some.y.to(self.device)
