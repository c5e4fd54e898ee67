"""Release the mean of the whole network's weights over an earlier stretch of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from membrane.core.errors import SettingError
from membrane.regions import average, copy_state
from membrane.regions.trail import kept_epochs, windows_between
from membrane.training.defense import Defense, Finished, Stage, Trained

if TYPE_CHECKING:
    from membrane.training.recipe import Recipe


def window_mistakes(name: str, recipe: Recipe, first: int, last: int) -> list[str]:
    """Nothing, or a sentence that says why the recipe's trail will not hold the window."""
    kept = windows_between(kept_epochs(recipe.n_epochs, recipe.keep))
    if (first, last) in kept:
        return []
    near = min(kept, key=lambda window: abs(window[0] - first) + abs(window[1] - last))
    return [
        f"{name}: a trail of {recipe.n_epochs} epochs that keeps {recipe.keep or 'all'} has no window {first} to "
        f"{last}; the nearest is {near[0]} to {near[1]}. Choose that one or raise the recipe's keep."
    ]


@dataclass(frozen=True)
class WeightAveraging(Defense):
    """Mean of the whole network's weights over a window of epochs, normalization statistics recomputed.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization",
    arXiv:1803.05407, with a free window instead of the end of training.

    Args:
        first: First epoch of the window, from 0.
        last: Last epoch, included.
        of: "updates", the mean over every update of those epochs, or "epochs", over the weights at their ends.

    Raises:
        SettingError: If the window is empty or negative.
    """

    name: ClassVar[str] = "weight_averaging"
    source: ClassVar[str] = "Izmailov et al. 2018, arXiv:1803.05407"
    strength: ClassVar[str | None] = "last"
    acts_on: ClassVar[Stage] = "release"
    does_not_stop: ClassVar[str] = "LiRA and canaries of late windows; whoever holds the trail holds the final weights"
    notes: ClassVar[str] = "earlier windows protect more; the window is free, the paper's is the end of training"

    first: int = 2
    last: int = 5
    of: Literal["updates", "epochs"] = "updates"

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise SettingError(
                f"weight_averaging: epochs {self.first} to {self.last} are no window; give 0 <= first <= last."
            )
        if self.of not in ("updates", "epochs"):
            raise SettingError(f"weight_averaging: of is {self.of!r}; give 'updates' or 'epochs'.")

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the window."""
        windows = [(e, e) for e in range(self.first, self.last + 1)] if self.of == "epochs" else []
        wanted = [*windows, (self.first, self.last)]
        return [mistake for window in wanted for mistake in window_mistakes(self.name, recipe, *window)][:1]

    def trained_as(self) -> Defense:
        """Plain training: only the trail is read."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The averaged model."""
        trail, window = trained.trail, range(self.first, self.last + 1)
        mean = trail.window(self.first, self.last) if self.of == "updates" else average([trail.at(e) for e in window])
        return Finished(trained.edited(copy_state(trained.model) | mean), {"first": self.first, "last": self.last})
