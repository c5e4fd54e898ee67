"""Refit on out-of-fold targets: what the released model learns about a member comes from a model that never saw it.

A short second training that begins from an early stretch of the first. Forks of it, which differ in chosen regions
alone, each leave out one fold of the members; the fork that did not see a member says what its label should be, in
probabilities, and the released model is trained on these instead of the labels.

Source: Split-AI and self-distillation of Tang et al. 2022, "Mitigating Membership Inference Attacks by
Self-Distillation Through a Novel Ensemble Architecture" (SELENA), arXiv:2110.08324. Where we differ: forks and the
released model begin from a stretch of one training, and forks need not differ in more than the risky regions
(theirs: whole models, from scratch). Near duplicates in different folds can give each other away, as in SELENA.

Learn the labels by heart: an answer about a member that *is* what a stranger to it said tells nothing new, and what the
released model has not learnt of it is filled in by what it knows of the member through the others' labels, which come
from forks that saw it. Longer training at a higher learning rate, without weight decay, leaks less here, not more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.generators import spawn_seed
from membrane.defenses.ranges import check
from membrane.defenses.soft_labels import SoftLabels, out_of_fold, sharpened
from membrane.defenses.windows import window_mistakes
from membrane.pptp.plan import Plan
from membrane.regions import copy_state
from membrane.regions.edit import State
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.loop import fit
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class UpTo(Defense):
    """Plain training that ends after an epoch, the learning rate as if it went on.

    Args:
        last: That epoch, counted from 0; training ends no later than its recipe says.
    """

    name: ClassVar[str] = "up_to"

    last: int = 0

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe, stopped."""
        return replace(recipe, stop=min(self.last + 1, recipe.n_epochs))


@dataclass(frozen=True)
class OutOfFoldRefit(Defense):
    """Release a model refitted, from an early window, on what forks that did not see a member say about it.

    Args:
        forked: Regions in which the forks differ from the trained model; empty for the whole network. What is not
            forked has seen every member and tells the forks about them: more accuracy, less protection.
        first: First epoch of the window that forks and the released model begin from.
        last: Last epoch, included.
        folds: Parts of the members, and forks.
        fork_epochs: Epochs that each fork is trained, on the members it may see.
        epochs: Epochs that the released model is trained; fewer stay nearer to the window.
        lr: Peak learning rate of both, warm-up and cosine as in the recipe, which decides everything else.
        left_out: Forks that leave out each part; their mean says what its labels should be.
        fork_lr: Peak learning rate of the forks; nothing for ``lr``.
        weight_decay: L2 coefficient of the released model's training; nothing for the recipe's.
        temperature: Labels are the mean answers to the power of one over this, normalized: below 1 they are sharper,
            which can make up for answers to strangers that are less sure than those to members.

    Raises:
        SettingError: Listing every setting that does not fit.
    """

    name: ClassVar[str] = "out_of_fold_refit"
    source: ClassVar[str] = "Tang et al. 2022, arXiv:2110.08324 (SELENA), restricted to regions; mechanism ours"
    strength: ClassVar[str | None] = "epochs"
    acts_on: ClassVar[Stage] = "release"
    does_not_stop: ClassVar[str] = "near duplicates in different folds, as in SELENA; what is not forked saw every one"
    notes: ClassVar[str] = "forks begin from an early window (SELENA: from scratch) and may share regions"

    forked: tuple[str, ...] = ()
    first: int = 2
    last: int = 5
    folds: int = 3
    fork_epochs: int = 8
    epochs: int = 8
    lr: float = 0.05
    left_out: int = 1
    fork_lr: float | None = None
    weight_decay: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            first=(0 <= self.first <= self.last, "0 or more, and at most last"),
            folds=(self.folds >= 2, "2 or more"),
            fork_epochs=(self.fork_epochs >= 1, "1 or more"),
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0"),
            left_out=(1 <= self.left_out < max(self.folds, 2), "1 or more, and fewer than folds"),
            fork_lr=(self.fork_lr is None or 0 < self.fork_lr < inf, "above 0, or nothing for lr"),
            weight_decay=(self.weight_decay is None or 0 <= self.weight_decay < inf, "0 or more, or nothing"),
            temperature=(0 < self.temperature < inf, "above 0"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the window, and every fold a member."""
        found = window_mistakes(self.name, self.trained_as().adapt(recipe), self.first, self.last)
        if n_members < 2 * self.folds:
            found.append(f"{self.name}: {n_members} members are too few for {self.folds} folds.")
        return found

    def trained_as(self) -> Defense:
        """Plain training, no longer than is read of it: up to the window's end if all regions are forked."""
        return Defense() if self.forked else UpTo(self.last)

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The refitted model."""
        start = time.perf_counter()
        cut = trained.regions
        forked = self.forked or cut.names
        final = copy_state(trained.model)
        window, of_forks = (Plan.same(regions, self.first, self.last) for regions in (cut.names, forked))
        table = self._table(trained, of_forks.state(final, trained.trail, cut), forked, generator)
        begin = copy_state(trained.edited(window.state(final, trained.trail, cut)))
        recipe = trained.recipe.again(self.epochs, self.lr, SoftLabels(sharpened(table, self.temperature)))
        if self.weight_decay is not None:
            recipe = replace(recipe, weight_decay=self.weight_decay)
        model = fit(recipe, trained.members, None, spawn_seed(generator), begin=begin).model
        right = float((table.argmax(1) == trained.members.y).double().mean())
        return Finished(model, {"out_of_fold_accuracy": right, "seconds": time.perf_counter() - start})

    def _table(self, trained: Trained, state: State, forked: tuple[str, ...], generator: torch.Generator) -> Tensor:
        """(N, C) probabilities, every member's from the fork that did not see it."""
        recipe = trained.recipe.again(self.fork_epochs, self.fork_lr or self.lr, Defense())
        recipe = replace(recipe, trainable=forked if self.forked else None)
        begin = copy_state(trained.edited(state))
        return out_of_fold(recipe, trained.members, self.folds, generator, begin, self.left_out)
