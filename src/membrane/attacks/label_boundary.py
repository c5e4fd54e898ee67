"""Boundary distance: how far must the example go before the model calls it something else?

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321, and Li and Zhang 2021,
"Membership Leakage in Label-Only Exposures", arXiv:2007.15528: the distance that HopSkipJump finds (Chen et al. 2020,
arXiv:1904.02144), 0 for examples that the model errs about; members are farther. Thresholds are theirs to choose, on a
shadow model or from random inputs; the score here is the distance itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.label_robustness import LabelRobustness
from membrane.readings import Boundary, Reading


@dataclass(frozen=True)
class LabelBoundary(LabelRobustness):
    """Euclidean distance to the nearest input found that the target calls something else.

    Cost: up to ``budget`` queries; nothing is trained. In 64 dimensions 2,500 queries end at most 6 % too far from a
    plane boundary, which a test holds them to; fewer end farther off, and more dimensions need more.

    Args:
        budget: Queries for each example, 100 or more.

    Raises:
        SettingError: If ``budget`` is less.
    """

    name: ClassVar[str] = "label_boundary"
    source: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv:2007.14321, with HopSkipJump, arXiv:1904.02144"

    budget: int = 1000

    @property
    def reading(self) -> Reading:
        return Boundary(self.budget)
