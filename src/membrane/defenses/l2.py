"""L2: a weight decay that is larger than accuracy alone would ask for.

Source: Krogh and Hertz 1991, "A Simple Weight Decay Can Improve Generalization", NIPS 4; as a membership defense,
Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820, section VIII.
Coupled: the gradient of (weight_decay / 2) ||theta||^2 passes through SGD's momentum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

from membrane.defenses.ranges import check
from membrane.training.defense import Defense
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class L2(Defense):
    """Train under a larger weight decay.

    Args:
        weight_decay: Coefficient, 0 or more. The larger of it and the recipe's own is taken, so 0 is the undefended
            baseline.

    Raises:
        SettingError: If ``weight_decay`` lies outside its range.
    """

    name: ClassVar[str] = "l2"
    source: ClassVar[str] = "Shokri et al. 2017, arXiv:1610.05820, section VIII"
    strength: ClassVar[str | None] = "weight_decay"
    does_not_stop: ClassVar[str] = "not made or tested against attacks with references (LiRA) or on worst cases"
    notes: ClassVar[str] = "behind normalization layers weight decay acts as a learning rate, not on the function"

    weight_decay: float = 5e-3

    def __post_init__(self) -> None:
        check(self, weight_decay=(0 <= self.weight_decay < inf, "0 or more"))

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe with at least this weight decay."""
        return replace(recipe, weight_decay=max(self.weight_decay, recipe.weight_decay))
