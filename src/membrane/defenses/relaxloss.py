"""RelaxLoss: training aims at a loss level instead of at zero.

Source: Chen, Yu, Fritz 2022, "RelaxLoss: Defending Membership Inference Attacks without Losing Utility",
arXiv:2207.05801. Even epochs: gradient descent while the batch's mean loss is above ``alpha``, ascent
below. Odd epochs: ordinary descent above ``alpha``; below it, posterior flattening with a soft target that
keeps p_y and spreads the rest evenly. Two readings of the flattening step exist, named by ``variant``:
"official" subtracts the cross-entropy and flattens wrongly predicted examples only, as the authors' code
does; "plain" averages the soft cross-entropy over all examples, as later re-implementations do. The soft
target is treated as a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.data.loader import Batch
from membrane.training.defense import Defense


def flattened(p: Tensor, y: Tensor, upper: float) -> Tensor:
    """Soft targets (B, C): of answers p (B, C), p_y, at most ``upper``, on the label and the rest spread evenly."""
    p_y = p.gather(1, y[:, None]).clamp(max=upper)
    rest = (1 - p_y) / (p.shape[1] - 1)
    return rest.expand_as(p).scatter(1, y[:, None], p_y)


@dataclass(frozen=True)
class RelaxLoss(Defense):
    """Hold the batch's mean loss near ``alpha``.

    Args:
        alpha: Target loss, nats, 0 or more; 0 is the undefended baseline.
        upper: Largest p_y in the soft target, above 0, at most 1.
        variant: "official" or "plain", see the module.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "relaxloss"
    source: ClassVar[str] = "Chen, Yu, Fritz 2022, arXiv:2207.05801"
    strength: ClassVar[str | None] = "alpha"
    does_not_stop: ClassVar[str] = (
        "worst cases: TPR@0.1 % FPR of 74 % on mislabelled canaries, CIFAR-10 (Aerni et al. 2024, arXiv:2404.17399)"
    )
    notes: ClassVar[str] = "official (the authors' code) or plain flattening; the soft target is a constant"

    alpha: float = 1.0
    upper: float = 1.0
    variant: Literal["official", "plain"] = "official"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise SettingError(f"relaxloss: alpha is {self.alpha}; it must be a loss of 0 nats or more.")
        if not 0 < self.upper <= 1:
            raise SettingError(f"relaxloss: upper is {self.upper}; it must be a probability above 0.")

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """(B,) in odd epochs; one number for the batch in even ones."""
        loss = F.cross_entropy(logits, batch.y, reduction="none")  # (B,)
        mean = loss.mean()
        if epoch % 2 == 0:
            return (mean - self.alpha).abs() if self.alpha > 0 else loss
        if float(mean.detach()) > self.alpha or self.alpha == 0:
            return loss
        log_p = F.log_softmax(logits, dim=1)
        soft = -(flattened(log_p.detach().exp(), batch.y, self.upper) * log_p).sum(1)  # (B,)
        if self.variant == "plain":
            return soft
        wrong = (logits.argmax(1) != batch.y).to(loss.dtype)
        return wrong * soft - loss
