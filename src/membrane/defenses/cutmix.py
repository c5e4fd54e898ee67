"""CutMix: a box of each image is another image's, and so is that share of its label.

Source: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
arXiv:1905.04899, with the authors' code for CIFAR: one box for each batch, in a share ``probability`` of the batches;
the label's share is the area that is left after the box is clipped at the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.errors import SettingError
from membrane.data.loader import Batch
from membrane.defenses.mixup import MixedBatch, draw_share, mixed_loss
from membrane.defenses.ranges import check
from membrane.training.defense import Defense, Start


@dataclass(frozen=True)
class CutMix(Defense):
    """Paste a box from another image; a box of area 1 - t, t from Beta(alpha, alpha), around a random pixel.

    Args:
        probability: Of a batch to be mixed, from 0 to 1; 0 is the undefended baseline.
        alpha: Above 0; 1 draws the area evenly.

    Raises:
        SettingError: If a setting lies outside its range, or, in training, if inputs are not images.
    """

    name: ClassVar[str] = "cutmix"
    source: ClassVar[str] = "Yun et al. 2019, arXiv:1905.04899"
    strength: ClassVar[str | None] = "probability"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "one box for each batch; images only"

    probability: float = 0.5
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            probability=(0 <= self.probability <= 1, "from 0 to 1"),
            alpha=(0 < self.alpha < inf, "above 0"),
        )

    def prepared(self, start: Start) -> Defense:
        if start.members.x.ndim != 4:
            raise SettingError(f"{self.name} pastes boxes of images; these inputs are features. Use mixup.")
        return self

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        if self.probability == 0 or float(torch.rand(1, generator=generator)) >= self.probability:
            return batch
        share = draw_share(self.alpha, generator)
        other = torch.randperm(len(batch.y), generator=generator).to(batch.y.device)
        height, width = batch.x.shape[2:]
        rows, columns = (_cut(size, share, generator) for size in (height, width))
        x = batch.x.clone()
        x[:, :, rows, columns] = batch.x[other][:, :, rows, columns]
        cut = (rows.stop - rows.start) * (columns.stop - columns.start)
        return MixedBatch(x, batch.y, batch.index, batch.y[other], 1 - cut / (height * width))

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        return mixed_loss(logits, batch)


def _cut(size: int, share: float, generator: torch.Generator) -> slice:
    """Extent of the box along one side of ``size`` pixels, clipped at the border."""
    length = int(size * sqrt(1 - share))
    center = int(torch.randint(size, (1,), generator=generator))
    return slice(max(center - length // 2, 0), min(center + length // 2, size))
