"""Noisy labels: in how many noisy copies does the model still know the example?

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321, robustness to random
noise, which needs no image and fewer queries than the boundary does. Where we differ: see the reading 'noisy_labels'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.label_robustness import LabelRobustness
from membrane.readings import NoisyLabels, Reading


@dataclass(frozen=True)
class LabelNoise(LabelRobustness):
    """Share of noisy copies that the target calls by the label; 0 if it errs about the example itself.

    Cost: ``copies`` + 1 queries; nothing is trained.

    Args:
        copies: 1 or more.
        noise: Standard deviation of what is added to each pixel (of 0 to 1) or feature; for tables of zeros and ones
            alone, the probability of flipping each.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "label_noise"
    source: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv:2007.14321 (random noise)"

    copies: int = 100
    noise: float = 0.05

    @property
    def reading(self) -> Reading:
        return NoisyLabels(self.copies, self.noise)
