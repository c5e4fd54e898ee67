"""Augmented labels, learned: which augmentations does a model know of what it trained on?

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321, and the authors' code:
for each class a network with two hidden layers of 10 learns from a shadow model's correctness on augmented images who
was a member. Where we differ: all references are shadow models; one output gives the log-odds where theirs are two;
ReLUs do not leak (theirs by 0.01); bits are brought to mean 0 and standard deviation 1 within the class; the learning
rate is a setting (they take the best of four on the shadow model).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.learned import Learned
from membrane.core.values import Floats, Signals
from membrane.readings import AugmentedLabels, Reading, Reveals
from membrane.readings.augmented_labels import Augmentation


@dataclass(frozen=True)
class LabelLearned(Learned):
    """Log-odds of membership that a network for x's class gives to the target's labels of augmented images.

    Cost: queries as for 'label_augmented'; for every pair of targets, one small network for each class.

    Args:
        by: As in 'label_augmented'.
        reach: As in 'label_augmented'.

    Raises:
        SettingError: If a setting is none of these.
    """

    name: ClassVar[str] = "label_learned"
    threat_model: ClassVar[Reveals] = "labels"
    source: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv:2007.14321 (augmentations, network per class)"
    per_class: ClassVar[bool] = True

    hidden: tuple[int, ...] = (10, 10)
    by: Augmentation = "shifts"
    reach: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.readings  # which refuse settings that do not fit

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (AugmentedLabels(self.by, self.reach),)

    def inputs(self, signals: Signals) -> Floats:
        return signals[self.readings[0].key]
