"""Early stopping: the weights of one epoch in the middle of the full schedule.

Source: as a membership defense, Song and Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine
Learning Models", arXiv:2003.10595. The schedule is not shortened; see ``short_schedule`` for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from membrane.core.errors import SettingError
from membrane.regions import copy_state
from membrane.regions.trail import kept_epochs
from membrane.training.defense import Defense, Finished, Stage, Trained

if TYPE_CHECKING:
    from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class EarlyStopping(Defense):
    """Keep the weights of one epoch, normalization statistics recomputed.

    Args:
        epoch: Epoch whose weights are released, from 0; the last one gives the undefended weights.

    Raises:
        SettingError: If ``epoch`` is negative.
    """

    name: ClassVar[str] = "early_stopping"
    source: ClassVar[str] = "Song and Mittal 2021, arXiv:2003.10595"
    strength: ClassVar[str | None] = "epoch"
    acts_on: ClassVar[Stage] = "release"
    does_not_stop: ClassVar[str] = "LiRA and canaries at the accuracy of a full schedule: it trades one for the other"
    notes: ClassVar[str] = "fewer epochs protect more; statistics are recomputed, the schedule is not shortened"

    epoch: int = 4

    def __post_init__(self) -> None:
        if self.epoch < 0:
            raise SettingError(f"early_stopping: epoch is {self.epoch}; epochs count from 0.")

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the epoch."""
        kept = kept_epochs(recipe.n_epochs, recipe.keep)
        if self.epoch in kept:
            return []
        near = min(kept, key=lambda epoch: abs(epoch - self.epoch))
        return [
            f"{self.name}: a trail of {recipe.n_epochs} epochs that keeps {recipe.keep or 'all'} has no epoch "
            f"{self.epoch}; the nearest is {near}. Choose that one or raise the recipe's keep."
        ]

    def trained_as(self) -> Defense:
        """Plain training: only the trail is read."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The model as it was after ``epoch``."""
        state = copy_state(trained.model) | trained.trail.at(self.epoch)
        return Finished(trained.edited(state), {"epoch": self.epoch})
