"""SELENA: the released model learns each member from models that never saw it.

Source: Tang et al. 2022, "Mitigating Membership Inference Attacks by Self-Distillation Through a Novel Ensemble
Architecture", USENIX Security 2022, arXiv:2110.08324, and the authors' code. Split-AI: of ``models`` sub-models,
``left_out`` drawn at random do not see a given member; the mean of their probabilities is its soft label.
Self-distillation: a fresh model is trained on these in place of the labels, by the same recipe. Where we differ: the
code keeps each sub-model's best epoch on test data; ours is the last. Split-AI itself is not released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.generators import derive_seed, torch_generator
from membrane.defenses.ranges import check
from membrane.defenses.soft_labels import SoftLabels, out_of_sample
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class SELENA(Defense):
    """Train on the mean answer of sub-models that did not see the example.

    Args:
        models: Sub-models, 2 or more; each is a whole training on its share of the members.
        left_out: Of them, how many do not see a given member; at least 1, fewer than ``models``. More give smoother
            soft labels, from sub-models that saw less.
        sub_lr: Peak learning rate of the sub-models; nothing for the recipe's, as in the source. Soft labels can want
            another than labels do.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "selena"
    source: ClassVar[str] = "Tang et al. 2022, arXiv:2110.08324"
    strength: ClassVar[str | None] = "left_out"
    does_not_stop: ClassVar[str] = (
        "near duplicates, which teach each other's label: TPR@0.1 % FPR of 53 % on such canaries, CIFAR-10 (Aerni et "
        "al. 2024, arXiv:2404.17399)"
    )
    notes: ClassVar[str] = "about 16 trainings at the authors' 25 models, 10 left out; never the undefended model"

    models: int = 25
    left_out: int = 10
    sub_lr: float | None = None

    def __post_init__(self) -> None:
        check(
            self,
            models=(self.models >= 2, "2 or more"),
            left_out=(1 <= self.left_out < self.models, "at least 1 and below models"),
            sub_lr=(self.sub_lr is None or 0 < self.sub_lr < inf, "above 0, or nothing for the recipe's"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether each sub-model will have something to learn from."""
        share = n_members * (self.models - self.left_out) / self.models
        if share >= 2 * recipe.batch_size or share >= 100:
            return []
        return [f"{self.name}: each sub-model sees about {share:.0f} members, too few. Leave out fewer."]

    def prepared(self, start: Start) -> Defense:
        return SoftLabels(self.soft_labels(start))

    def unseen(self, start: Start) -> Tensor:
        """(N, models) bool: which members each sub-model does not see."""
        ranks = torch.rand(len(start.members), self.models, generator=torch_generator(start.seed, "split")).argsort(1)
        return torch.zeros(ranks.shape, dtype=torch.bool).scatter(1, ranks[:, : self.left_out], value=True)

    def soft_labels(self, start: Start) -> Tensor:
        """(N, C) mean probabilities of the sub-models that did not see each member."""
        seeds = [derive_seed(start.seed, "split", k) for k in range(self.models)]
        recipe = replace(start.recipe, lr=self.sub_lr or start.recipe.lr)
        return out_of_sample(recipe, start.members, self.unseen(start), seeds, start.device, parts=start.parts)
