"""NeuGuard: answers of a class shall be alike, and the two halves of a layer in balance.

Source: Xu et al. 2022, "NeuGuard: Lightweight Neuron-Guided Defense against Membership Inference Attacks", ACSAC 2022,
arXiv:2206.05565, and the authors' code for Texas100. The loss of an example is

    CE + ``balance`` sum over layers (sum of its first half - sum of its second half)^2 / size
       + ``variance`` ||softmax - mean softmax of its class||^2,

where a class's mean is that of all answers to its examples since training began, those of the batch included, and gets
no gradient. Layers are those of the code: each hidden layer as the next linear layer reads it, and the logits. What a
network computes before its first vector of features (convolutions, tokens) is left alone. Without the option that
amplifies the largest feature maps, which the paper has for CIFAR.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense, Start


@dataclass(frozen=True)
class NeuGuard(Defense):
    """Cross-entropy plus how much layers are out of balance and answers differ within a class.

    Args:
        balance: Weight of the layers' term, 0 or more.
        variance: Weight of the answers' term, 0 or more; with ``balance`` 0 as well, the undefended baseline.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "neuguard"
    source: ClassVar[str] = "Xu et al. 2022, arXiv:2206.05565"
    strength: ClassVar[str | None] = "variance"
    does_not_stop: ClassVar[str] = (
        "attacks on metrics: 60.4 % right from confidence on CIFAR-10 in its source; not tested there against attacks "
        "with references (LiRA)"
    )
    notes: ClassVar[str] = "as in the authors' code for Texas100; weights as published are far larger than our defaults"

    balance: float = 0.01
    variance: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            balance=(0 <= self.balance < inf, "0 or more"),
            variance=(0 <= self.variance < inf, "0 or more"),
        )

    def prepared(self, start: Start) -> Defense:
        return _Guarding(self, start) if self.balance or self.variance else self


def imbalance(layer: Tensor) -> Tensor:
    """(B,) squared difference of the sums of a layer's halves (B, S), over S; the first half is the smaller."""
    size = layer.shape[1]
    sums = layer[:, : size // 2].sum(1) - layer[:, size // 2 :].sum(1)
    return sums.square() / size


class ClassMeans:
    """Mean answer of each class so far.

    Args:
        n_classes: C.
        device: Where answers are.
    """

    def __init__(self, n_classes: int, device: torch.device) -> None:
        self.sums = torch.zeros(n_classes, n_classes, dtype=torch.float64, device=device)
        self.counts = torch.zeros(n_classes, dtype=torch.float64, device=device)

    def seen(self, p: Tensor, y: Tensor) -> Tensor:
        """(B, C) means of the classes of y (B,), answers p (B, C) included."""
        self.sums.index_add_(0, y, p.detach().double())
        self.counts.index_add_(0, y, torch.ones_like(y, dtype=torch.float64))
        return (self.sums[y] / self.counts[y, None]).to(p)


class _Guarding(Defense):
    """One training with its hooks and its means."""

    def __init__(self, settings: NeuGuard, start: Start) -> None:
        self.settings, self.last = settings, start.recipe.n_epochs - 1
        self.means = ClassMeans(len(start.members.classes), start.device)
        self.layers: list[Tensor] = []
        weighted = [m for m in start.model.modules() if any(True for _ in m.parameters(recurse=False))]
        readers = [m for m in weighted[1:] if isinstance(m, nn.Linear)]  # the first layer reads the input itself
        self.hooks = [one.register_forward_pre_hook(self._note) for one in readers]

    def _note(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 2:
            self.layers.append(inputs[0].float())

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        self.layers.clear()
        return batch

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        loss = super().loss(logits, batch, epoch)
        for layer in (*self.layers, logits):
            loss = loss + self.settings.balance * imbalance(layer)
        p = torch.softmax(logits, 1)
        apart = (p - self.means.seen(p, batch.y)).square().sum(1)
        return loss + self.settings.variance * apart

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch == self.last:
            for hook in self.hooks:
                hook.remove()
