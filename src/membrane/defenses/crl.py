"""CRL: center-based relaxed learning, RelaxLoss on normalized logits and the same for distances to class centers.

Source: Fang and Kim 2024, "Center-Based Relaxed Learning Against Membership Inference Attacks", UAI 2024,
arXiv:2404.17674, and the authors' code, which is followed in what the paper leaves open: epochs count from 1 for the
alternation; soft targets come from the logits before normalization, and gradients pass through them; flattening is
the mean over all examples ("plain" in ``relaxloss``); centers are drawn from N(0, 1) and have their own SGD without
Nesterov, constant rate, the recipe's momentum and weight decay. The settings behind the paper's tables are not
published; the defaults here are ours and want tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data.loader import Batch
from membrane.defenses.features import head_of
from membrane.defenses.ranges import check
from membrane.defenses.relaxloss import flattened
from membrane.training.defense import Defense, Start


@dataclass(frozen=True)
class CRL(Defense):
    """Hold the batch's loss near ``alpha``, and its mean distance from class centers near ``alpha_center``.

    Args:
        alpha: Target loss of normalized logits, nats, 0 or more.
        tau: Normalization of logits, g / (1 + tau ||g||), 0 or more; above 0 it bounds how low the loss can get.
        weight: Of the center term, 0 or more; with ``alpha`` and ``tau`` 0 as well, the undefended baseline.
        alpha_center: Target of half the mean squared distance of normalized features and centers, 0 or more.
        tau_center: Normalization of features and centers, 0 or more.
        upper: Largest p_y in the soft target, above 0, at most 1.
        upper_center: Largest weight p_y of the own center, above 0, at most 1.
        lr_center: Learning rate of the centers, above 0.

    Raises:
        SettingError: If a setting lies outside its range; in training, if the network ends in no linear layer.
    """

    name: ClassVar[str] = "crl"
    source: ClassVar[str] = "Fang and Kim 2024, arXiv:2404.17674"
    strength: ClassVar[str | None] = "alpha"
    does_not_stop: ClassVar[str] = "not tested by its source against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "follows the authors' code; their settings are unpublished, so the defaults want tuning"

    alpha: float = 1.0
    tau: float = 0.1
    weight: float = 0.1
    alpha_center: float = 0.1
    tau_center: float = 1.0
    upper: float = 1.0
    upper_center: float = 1.0
    lr_center: float = 0.001

    def __post_init__(self) -> None:
        level = {k: (0 <= getattr(self, k) < inf, "0 or more") for k in _LEVELS}
        upper = {k: (0 < getattr(self, k) <= 1, "a probability above 0") for k in ("upper", "upper_center")}
        check(self, **level, **upper, lr_center=(0 < self.lr_center < inf, "above 0"))

    def prepared(self, start: Start) -> Defense:
        return _Centered(self, start) if self.weight > 0 else self

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """Relaxed loss of normalized logits: (B,), or one number for the batch in every second epoch."""
        own = shrunk(logits, self.tau)
        loss = F.cross_entropy(own, batch.y, reduction="none")
        if self.alpha == 0:
            return loss
        mean = loss.mean()
        if epoch % 2 == 1:
            return (mean - self.alpha).abs()
        if float(mean.detach()) > self.alpha:
            return loss
        target = flattened(torch.softmax(logits, 1), batch.y, self.upper)
        return -(target * F.log_softmax(own, 1)).sum(1)

    def center_loss(self, logits: Tensor, features: Tensor, centers: Tensor, y: Tensor, epoch: int) -> Tensor:
        """Relaxed center term of a batch, one number.

        Args:
            logits: (B, C).
            features: (B, D), the last layer's inputs.
            centers: (C, D).
            y: (B,) labels.
            epoch: From 0.
        """
        q, c = shrunk(features, self.tau_center), shrunk(centers, self.tau_center)[y]
        squares = (q - c).square().sum(1)  # (B,)
        distance = squares.mean() / 2
        if epoch % 2 == 1:
            return (distance - self.alpha_center).abs()
        if float(distance.detach()) > self.alpha_center:
            return distance
        p = torch.softmax(logits, 1).gather(1, y[:, None])[:, 0].clamp(max=self.upper_center)
        return (p * squares + (1 - p) * q.square().sum(1)).mean() / 2


_LEVELS = ("alpha", "tau", "weight", "alpha_center", "tau_center")


def shrunk(vectors: Tensor, tau: float) -> Tensor:
    """V / (1 + tau ||v||) for each row (N, D): at tau 0 as it is, else shorter than 1 / tau."""
    return vectors / (1 + tau * (torch.linalg.vector_norm(vectors, dim=1, keepdim=True) + 1e-7)) if tau else vectors


class _Centered(CRL):
    """One training with its centers."""

    def __init__(self, settings: CRL, start: Start) -> None:
        super().__init__(**vars(settings))
        head = head_of(start.model, len(start.members.classes), self.name)
        drawn = torch.randn(
            head.out_features, head.in_features, generator=torch_generator(start.seed, "centers"), dtype=torch.float32
        )
        self.centers = nn.Parameter(drawn.to(start.device))
        recipe = start.recipe
        self.optimizer = torch.optim.SGD(
            [self.centers], self.lr_center, recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.last = recipe.n_epochs - 1
        self.features: list[Tensor] = []
        self.hook = head.register_forward_pre_hook(lambda _, inputs: self.features.append(inputs[0]))

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        features = self.features.pop().float()
        self.features.clear()
        center = self.center_loss(logits, features, self.centers, batch.y, epoch)
        return super().loss(logits, batch, epoch) + self.weight * center

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        super().step(model, optimizer, loss)
        self.optimizer.step()

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch == self.last:
            self.hook.remove()
