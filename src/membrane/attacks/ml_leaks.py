"""ML-Leaks, adversary 1: one network for all classes learns from the three largest probabilities, sorted.

Source: Salem et al. 2019, "ML-Leaks: Model and Data Independent Membership Inference Attacks and Defenses on Machine
Learning Models", arXiv:1806.01246, adversary 1: one shadow model, its three largest posteriors in falling order
labelled in and out, one hidden layer of 64 units; the label is not read. Where we differ: all references serve as
shadow models; otherwise as in the shadow classifier. Adversary 2, whose shadow model comes from other data, is this one
with references from elsewhere (``audit_model``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.shadow_classifier import OnPosteriors
from membrane.core.errors import SettingError
from membrane.readings import Posteriors, Reading


@dataclass(frozen=True)
class MLLeaks(OnPosteriors):
    """Log-odds of membership that a network, trained on the references' sorted answers, gives to the target's.

    Args:
        top: How many of the largest probabilities are read, 1 or more.

    Raises:
        SettingError: If ``top`` is less than 1.
    """

    name: ClassVar[str] = "ml_leaks"
    source: ClassVar[str] = "Salem et al. 2019, arXiv:1806.01246 (adversary 1)"

    top: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top < 1:
            raise SettingError(f"top is {self.top}; it must be 1 or more.")

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Posteriors(self.top),)
