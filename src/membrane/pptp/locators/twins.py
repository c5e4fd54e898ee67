"""Twins: two networks of one history that differ in some members alone.

From an early epoch two trainings go on with the same seed, so that every batch holds the same examples at the same
places, but for those that only one of them may see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from membrane.core.errors import NotEnoughDataError, SettingError
from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples, joined
from membrane.regions import copy_state, mix
from membrane.regions.edit import State
from membrane.training.defense import Defense
from membrane.training.loop import fit

if TYPE_CHECKING:
    from membrane.pptp.locators.locator import Subject

FEWEST = 50  # that only one twin has seen: below, an AUC is known to no better than 0.06


@dataclass(frozen=True)
class Twins:
    """Two networks and what tells them apart.

    Args:
        first: Weights of one.
        second: Weights of the other, the same architecture.
        of_first: Examples that only the first was trained on.
        of_second: As exchangeable examples that only the second was trained on.
        common: Training inputs of both, without augmentation; normalization statistics of hybrids are recomputed on
            them. If all differs, half of each.
        unseen: Examples that neither was trained on, for the accuracy of hybrids.

    Raises:
        NotEnoughDataError: If only one of them saw fewer than 50 examples.
    """

    first: State
    second: State
    of_first: Examples
    of_second: Examples
    common: Examples
    unseen: Examples

    def __post_init__(self) -> None:
        fewest = min(len(self.of_first), len(self.of_second))
        if fewest < FEWEST:
            raise NotEnoughDataError(
                f"twins need {FEWEST} examples that only one of them saw; there are {fewest}. Give a larger holdout."
            )


def fork_twins(subject: Subject, epoch: int, generator: torch.Generator) -> Twins:
    """Twins that go on from the subject's own history.

    Half of the probe's searching holdout takes the places of as many members in the second twin's training set; the
    other half stays unseen. The weights at the fork have seen all members for ``epoch`` + 1 epochs, which both twins
    have in common. What is located is therefore what training adds afterwards.

    Args:
        subject: Its recipe says how to train, without its defense. Learning rate and warm-up begin anew at the fork.
        epoch: Whose final weights are forked; the twins are trained for the rest of the epochs.
        generator: Draws the members that only the first sees, and the seed of both trainings.

    Raises:
        SettingError: If there is no recipe, or nothing left to train.
        NotEnoughDataError: If the holdout is too small.
    """
    recipe = subject.trained_by("twin_swap", instead=" or twins=Twins(...)")
    probe = subject.probe
    if not 0 <= epoch < probe.trail.n_epochs - 1:
        raise SettingError(f"twins cannot fork after epoch {epoch} of {probe.trail.n_epochs}; name an earlier one.")
    half = len(probe.search) // 2
    theirs, unseen = probe.search[:half], probe.search[half:]
    order = torch.randperm(len(subject.members), generator=generator)
    own, common = subject.members[order[:half]], subject.members[order[half:]]
    begin = mix(probe.final, probe.trail.at(epoch), 0.0, probe.final.keys())
    later = replace(recipe.again(probe.trail.n_epochs - 1 - epoch, recipe.lr, Defense()), compile=False)
    seed = spawn_seed(generator)
    first, second = (
        copy_state(fit(later, joined(part, common), None, seed, begin=begin).model) for part in (own, theirs)
    )
    return Twins(first, second, own, theirs, common, unseen)
