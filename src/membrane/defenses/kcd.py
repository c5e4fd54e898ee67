"""KCD: knowledge cross-distillation, each member's label softened by a teacher that did not see it.

Source: Chourasia et al. 2022, "Knowledge Cross-Distillation for Membership Privacy", PoPETs 2022, arXiv:2111.01363:
teacher i is trained on all members but fold i and answers for fold i; the student is trained on all members, with
``mix`` cross-entropy to the teachers' answers + (1 - ``mix``) cross-entropy to the labels. A reading of the abstract
and of descriptions by others: the paper's folds, mixes and temperatures for each data set were not at hand, so the
defaults are ours and there is no temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from membrane.core.generators import derive_seed, torch_generator
from membrane.defenses.ranges import check
from membrane.defenses.soft_labels import SoftLabels, out_of_sample
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class KCD(Defense):
    """Train on labels mixed with the answers of one teacher that did not see the member.

    Args:
        mix: Share of the teachers' answers, from 0 to 1; 0 is the undefended baseline.
        folds: Teachers, 2 or more; each is a whole training on all members but one fold.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "kcd"
    source: ClassVar[str] = "Chourasia et al. 2022, arXiv:2111.01363"
    strength: ClassVar[str | None] = "mix"
    does_not_stop: ClassVar[str] = (
        "near duplicates in different folds, as in SELENA; what teachers' answers carry over (Jagielski et al. 2023, "
        "arXiv:2303.03446)"
    )
    notes: ClassVar[str] = "the paper's settings were not at hand; folds + 1 trainings, no temperature"
    reading: ClassVar[bool] = True

    mix: float = 0.8
    folds: int = 5

    def __post_init__(self) -> None:
        check(self, mix=(0 <= self.mix <= 1, "a share from 0 to 1"), folds=(self.folds >= 2, "2 or more"))

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether every fold has a member."""
        if self.mix == 0 or n_members >= 2 * self.folds:
            return []
        return [f"{self.name}: {n_members} members are too few for {self.folds} folds."]

    def prepared(self, start: Start) -> Defense:
        if self.mix == 0:
            return self
        members = start.members
        fold = torch.randperm(len(members), generator=torch_generator(start.seed, "folds")) % self.folds
        unseen = fold[:, None] == torch.arange(self.folds)
        seeds = [derive_seed(start.seed, "folds", i) for i in range(self.folds)]
        answers = out_of_sample(start.recipe, members, unseen, seeds, start.device, parts=start.parts)
        labels = F.one_hot(members.y, len(members.classes)).to(answers)
        return SoftLabels(self.mix * answers + (1 - self.mix) * labels)
