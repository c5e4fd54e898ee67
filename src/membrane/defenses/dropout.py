"""Dropout before the last layer.

Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15. Where it
goes is that of the baseline in the code of Chen, Yu, Fritz 2022, arXiv:2207.05801 (RelaxLoss): the inputs of the last
linear layer, whatever the network. Dropout that a network has of its own stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from membrane.defenses.features import head_of
from membrane.defenses.ranges import check
from membrane.training.defense import Defense, Start


@dataclass(frozen=True)
class Dropout(Defense):
    """Drop penultimate features while training.

    Args:
        p: Share that is dropped, from 0 to below 1; 0 is the undefended baseline.

    Raises:
        SettingError: If ``p`` lies outside its range.
    """

    name: ClassVar[str] = "dropout"
    source: ClassVar[str] = "Srivastava et al. 2014, JMLR 15; placed as in arXiv:2207.05801"
    strength: ClassVar[str | None] = "p"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "on the inputs of the last linear layer"

    p: float = 0.5

    def __post_init__(self) -> None:
        check(self, p=(0 <= self.p < 1, "a share from 0 to below 1"))

    def prepared(self, start: Start) -> Defense:
        if self.p == 0:
            return self
        return _Dropping(self.p, head_of(start.model, len(start.members.classes), self.name), start.recipe.n_epochs)


class _Dropping(Defense):
    """Dropout on one model, taken off when its training ends."""

    def __init__(self, p: float, head: nn.Linear, epochs: int) -> None:
        self.last = epochs - 1
        self.hook = head.register_forward_pre_hook(lambda layer, inputs: _dropped(inputs, p, layer.training))

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch == self.last:
            self.hook.remove()


def _dropped(inputs: tuple[Tensor, ...], p: float, training: bool) -> tuple[Tensor, ...]:
    return (F.dropout(inputs[0], p, training), *inputs[1:])
