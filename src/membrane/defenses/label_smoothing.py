"""Label smoothing: part of each label is spread evenly over all classes.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567,
section 7. As a membership defense it is a baseline: Fang and Kim 2024, arXiv:2404.17674, section 5, find a little
accuracy and no protection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense


@dataclass(frozen=True)
class LabelSmoothing(Defense):
    """Cross-entropy with the target (1 - epsilon) onehot + epsilon / C.

    Args:
        epsilon: Share of the label that is spread, from 0 to below 1; 0 is the undefended baseline.

    Raises:
        SettingError: If ``epsilon`` lies outside its range.
    """

    name: ClassVar[str] = "label_smoothing"
    source: ClassVar[str] = "Szegedy et al. 2016, arXiv:1512.00567"
    strength: ClassVar[str | None] = "epsilon"
    does_not_stop: ClassVar[str] = (
        "no help in Fang and Kim 2024, arXiv:2404.17674; not made or tested against attacks with references (LiRA)"
    )

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        check(self, epsilon=(0 <= self.epsilon < 1, "a share from 0 to below 1"))

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        """(B, C) probabilities, or (B,) labels where nothing is smoothed."""
        if self.epsilon == 0:
            return batch.y
        return (1 - self.epsilon) * F.one_hot(batch.y, n_classes).float() + self.epsilon / n_classes
