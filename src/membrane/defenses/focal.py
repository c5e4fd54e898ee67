"""Focal loss: what is known already counts less.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002, without class weights. As a
membership baseline: Liu et al. 2024, arXiv:2402.05453.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense

_TINY = 1e-12  # of 1 - p_y; below it the weight has no slope, which for gamma under 1 would be infinite


@dataclass(frozen=True)
class FocalLoss(Defense):
    """(1 - p_y)^gamma times the cross-entropy.

    Args:
        gamma: Exponent, 0 or more; 0 is the undefended baseline.

    Raises:
        SettingError: If ``gamma`` lies outside its range.
    """

    name: ClassVar[str] = "focal_loss"
    source: ClassVar[str] = "Lin et al. 2017, arXiv:1708.02002"
    strength: ClassVar[str | None] = "gamma"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "without class weights"

    gamma: float = 2.0

    def __post_init__(self) -> None:
        check(self, gamma=(0 <= self.gamma < inf, "0 or more"))

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        loss = F.cross_entropy(logits, batch.y, reduction="none")
        if self.gamma == 0:
            return loss
        return (-torch.expm1(-loss)).clamp_min(_TINY) ** self.gamma * loss
