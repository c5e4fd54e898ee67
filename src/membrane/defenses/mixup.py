"""Mixup: train between examples instead of on them.

Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412. One share for each batch, as
in the authors' code; partners are the batch in another order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.core.generators import spawn_seed
from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense


@dataclass(frozen=True)
class MixedBatch(Batch):
    """A batch in which each input is part another one.

    Args:
        partner: (B,) labels of the others.
        share: Of the first label, from 0 to 1; the partner has the rest.
    """

    partner: Tensor
    share: float


def mixed_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy (B,) against both labels of each input, by their shares."""
    loss = F.cross_entropy(logits, batch.y, reduction="none")
    if not isinstance(batch, MixedBatch):
        return loss
    return batch.share * loss + (1 - batch.share) * F.cross_entropy(logits, batch.partner, reduction="none")


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """One draw from Beta(alpha, alpha)."""
    return float(np.random.default_rng(spawn_seed(generator)).beta(alpha, alpha))


@dataclass(frozen=True)
class Mixup(Defense):
    """Inputs and labels become t times their own plus 1 - t times another's, t from Beta(alpha, alpha).

    Args:
        alpha: 0 or more; 1 mixes evenly, small values hardly; 0 is the undefended baseline.

    Raises:
        SettingError: If ``alpha`` lies outside its range.
    """

    name: ClassVar[str] = "mixup"
    source: ClassVar[str] = "Zhang et al. 2018, arXiv:1710.09412"
    strength: ClassVar[str | None] = "alpha"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "one share for each batch; with the recipe's augment, images are augmented before"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check(self, alpha=(0 <= self.alpha < inf, "0 or more"))

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        if self.alpha == 0:
            return batch
        share = draw_share(self.alpha, generator)
        other = torch.randperm(len(batch.y), generator=generator).to(batch.y.device)
        x = share * batch.x + (1 - share) * batch.x[other]
        return MixedBatch(x, batch.y, batch.index, batch.y[other], share)

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        return mixed_loss(logits, batch)
