"""What a defense may hold for one training, and what of it the training key covers."""

from __future__ import annotations

import torch
from torch import Tensor

from membrane.data.loader import Batch
from membrane.regions import copy_state
from membrane.training import Defense, Start, fit
from membrane.training.keys import training_key
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with, training
from tests.training.jobs import small_recipe, task, weight_bits


class Noting(Defense):
    """Hands the training to a defense that remembers what it was given."""

    def __init__(self) -> None:
        self.starts: list[Start] = []

    def prepared(self, start: Start) -> Defense:
        self.starts.append(start)
        return Counting(start)


class Counting(Defense):
    def __init__(self, start: Start) -> None:
        self.first = copy_state(start.model)
        self.batches = 0

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        self.batches += 1
        return super().loss(logits, batch, epoch)


def test_a_training_may_have_its_own_state_and_stays_the_same_training() -> None:
    noting = Noting()
    done = fit(recipe_with(noting), MEMBERS, HOLDOUT, 0)
    assert weight_bits(done.model) == weight_bits(training(Defense()).model)
    (start,) = noting.starts
    assert start.members is MEMBERS
    assert start.holdout is HOLDOUT
    assert start.seed == 0
    assert start.recipe.epochs == done.trail.n_epochs


def test_only_a_defense_that_trains_on_the_holdout_has_it_in_its_key() -> None:
    class Greedy(Defense):
        name = "greedy"
        trains_on_holdout = True

    here = task()
    other = type(here)(**{**vars(here), "holdout": HOLDOUT})
    keys = {
        defense.name: [training_key(small_recipe(defense=defense), one, 0, 0) for one in (here, other)]
        for defense in (Defense(), Greedy())
    }
    assert keys["undefended"][0] == keys["undefended"][1]
    assert keys["greedy"][0] != keys["greedy"][1]


def test_state_does_not_outlive_its_training() -> None:
    noting = Noting()
    fits = [fit(recipe_with(noting), MEMBERS, HOLDOUT, seed) for seed in (0, 0)]
    assert len(noting.starts) == 2
    assert all(torch.equal(a, b) for a, b in zip(*(copy_state(one.model).values() for one in fits), strict=True))
