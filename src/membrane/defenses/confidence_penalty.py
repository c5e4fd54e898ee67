"""Confidence penalty: being sure costs something, on every training example alike.

Source: Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output Distributions",
arXiv:1701.06548. Without the paper's optional entropy threshold and annealing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense


def entropy(logits: Tensor) -> Tensor:
    """Entropy (B,) of softmax answers, nats: 0 where the model is sure, log C where it knows nothing."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class ConfidencePenalty(Defense):
    """Cross-entropy minus ``beta`` times the entropy of the answer.

    Args:
        beta: Weight of the entropy, 0 or more; 0 is the undefended baseline.

    Raises:
        SettingError: If ``beta`` lies outside its range.
    """

    name: ClassVar[str] = "confidence_penalty"
    source: ClassVar[str] = "Pereyra et al. 2017, arXiv:1701.06548"
    strength: ClassVar[str | None] = "beta"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "without the paper's entropy threshold"

    beta: float = 0.1

    def __post_init__(self) -> None:
        check(self, beta=(0 <= self.beta < inf, "0 or more"))

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        loss = F.cross_entropy(logits, batch.y, reduction="none")
        return loss - self.beta * entropy(logits) if self.beta > 0 else loss
