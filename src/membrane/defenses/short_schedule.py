"""Short full schedule: the same recipe, its whole learning-rate schedule squeezed into fewer epochs.

The strongest of the free baselines: unlike stopping a long schedule in the middle, it ends annealed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from membrane.core.errors import SettingError
from membrane.training.defense import Defense
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class ShortSchedule(Defense):
    """Train for fewer epochs, warm-up and annealing included.

    Args:
        epochs: Length of the schedule; that of the recipe gives the undefended baseline.

    Raises:
        SettingError: If ``epochs`` is below 1.
    """

    name: ClassVar[str] = "short_schedule"
    source: ClassVar[str] = "baseline; see Aerni et al. 2024, arXiv:2404.17399, on under-tuned baselines"
    strength: ClassVar[str | None] = "epochs"
    does_not_stop: ClassVar[str] = "LiRA and canaries at the accuracy of a full schedule: it trades one for the other"
    notes: ClassVar[str] = "fewer epochs protect more; the strongest of the free baselines"

    epochs: int = 8

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SettingError(f"short_schedule: epochs is {self.epochs}; it must be 1 or more.")

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe with at most ``epochs`` epochs."""
        epochs = min(self.epochs, recipe.epochs)
        return replace(recipe, epochs=epochs, stop=recipe.stop and min(recipe.stop, epochs))
