"""Augmented labels, counted: does the model still know the image when it is moved or turned a little?

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321: correctness on
augmented images as features. They train a network on them, the attack 'label_learned'; this is the count alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.label_robustness import LabelRobustness
from membrane.readings import AugmentedLabels, Reading
from membrane.readings.augmented_labels import Augmentation


@dataclass(frozen=True)
class LabelAugmented(LabelRobustness):
    """Share of augmented images, the image itself among them, that the target calls by the label.

    Cost: 4 ``reach`` + 1 queries by shifts, 2 ``reach`` + 1 by rotations; nothing is trained. Images only.

    Args:
        by: "shifts" by ``reach`` pixels, up or down plus to either side; or "rotations" up to ``reach`` degrees.
        reach: 1 or more.

    Raises:
        SettingError: If a setting is none of these.
    """

    name: ClassVar[str] = "label_augmented"
    source: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv:2007.14321 (augmentations, counted)"

    by: Augmentation = "shifts"
    reach: int = 1

    @property
    def reading(self) -> Reading:
        return AugmentedLabels(self.by, self.reach)
