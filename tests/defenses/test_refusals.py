"""What a defense cannot do is said before training; what goes wrong in training leaves the last good state."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from membrane.core.errors import SettingError
from membrane.data import Examples
from membrane.data.loader import Batch
from membrane.defenses import (
    CRL,
    DMP,
    HAMP,
    AdvReg,
    Defense,
    EarlyStopping,
    HAMPOutput,
    MemGuard,
    MixupMMD,
    RelaxLoss,
    Stacked,
)
from membrane.models import MLP
from membrane.pptp import DEFENSES, PPTP, FrozenPlan
from membrane.training import fit
from membrane.training.check import training_mistakes
from membrane.training.divergence import DivergedError
from membrane.training.recipe import Recipe
from tests.defenses.questions import HOLDOUT, MEMBERS, TEST, recipe_with
from tests.training.jobs import small_recipe, task


class TrainingReachedError(AssertionError):
    """A batch was reached."""


def stop_at_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(self: Defense, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        raise TrainingReachedError

    monkeypatch.setattr(Defense, "batch", batch)


FEATURES = Examples(torch.rand(60, 5, generator=torch.Generator().manual_seed(0)), MEMBERS.y, MEMBERS.classes)
ONE_CLASS = HOLDOUT.relabelled(torch.zeros(len(HOLDOUT), dtype=torch.long))


@pytest.mark.parametrize(
    ("defense", "members", "holdout", "says"),
    [
        (AdvReg(), MEMBERS, None, "there are 0. Set holdout"),
        (DMP(), MEMBERS, None, "0 are kept of 0. Set holdout"),
        (MixupMMD(), MEMBERS, None, "there are 0. Set holdout"),
        (MixupMMD(), MEMBERS, ONE_CLASS, "has none of 2 classes that members have, first b, c"),
        (MemGuard(), MEMBERS, None, "there are 60 and 0. Set holdout"),
        (Stacked(Defense(), MemGuard()), MEMBERS, None, "there are 60 and 0. Set holdout"),
        (PPTP(), MEMBERS, None, "pptp chooses on 500 members"),
        (EarlyStopping(99), MEMBERS, None, "has no epoch 99; the nearest is 9"),
        (HAMP(), FEATURES, None, "features are neither; use hamp_training"),
        (HAMPOutput(), FEATURES, None, "features are neither; use hamp_training"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refused_before_the_first_batch(
    monkeypatch: pytest.MonkeyPatch, defense: Defense, members: Examples, holdout: Examples | None, says: str
) -> None:
    stop_at_the_first_batch(monkeypatch)
    plan = recipe_with(defense) if members.x.ndim == 4 else small_recipe(defense=defense)
    with pytest.raises(SettingError, match=says):
        fit(plan, members, holdout, 0)
    with pytest.raises(TrainingReachedError):
        fit(plan.with_defense(Defense()), members, holdout, 0)


NEED_THE_HOLDOUT = [name for name in DEFENSES if DEFENSES.entry(name).extra_data.startswith("holdout: ")]


@pytest.mark.parametrize("name", NEED_THE_HOLDOUT)
def test_every_defense_that_needs_non_members_is_refused_without_before_the_first_batch(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stop_at_the_first_batch(monkeypatch)
    with pytest.raises(SettingError, match=rf"(?s){name}.*holdout"):
        fit(recipe_with(DEFENSES.make(name)), MEMBERS, None, 0)


def test_batches_too_small_to_be_compared_are_refused() -> None:
    plan = dataclasses.replace(recipe_with(MixupMMD()), batch_size=4)
    with pytest.raises(SettingError, match="compares batches of 8 or more; set batch_size"):
        fit(plan, MEMBERS, HOLDOUT, 0)


def test_a_defense_that_stands_on_another_refuses_what_that_one_refuses() -> None:
    class Picky(Defense):
        def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
            return [f"picky about {len(members)}"]

    for defense in (PPTP(base=Picky()), FrozenPlan(base=Picky())):
        assert defense.data_mistakes(recipe_with(Defense()), MEMBERS, None) == ["picky about 60"]


def test_a_check_without_training_says_it_too() -> None:
    here = task()
    everything = dataclasses.replace(here, holdout=None)
    assert training_mistakes(small_recipe(defense=MixupMMD()), here) == []
    assert len(training_mistakes(small_recipe(defense=MixupMMD()), everything)) == 1
    bare = dataclasses.replace(here, holdout=here.holdout and here.holdout.relabelled(here.holdout.y * 0))
    (found,) = training_mistakes(small_recipe(defense=MixupMMD()), bare)
    assert "has none of 2 classes" in found


@pytest.mark.parametrize(
    ("defense", "lr"),
    [
        (RelaxLoss(1e30), 0.05),
        (RelaxLoss(1e30, variant="plain"), 0.05),
        (CRL(alpha=1e30, tau=0.0, weight=0.0), 0.2),
    ],
    ids=repr,
)
def test_ascent_without_end_stops_with_epoch_cause_and_the_last_good_state(defense: Defense, lr: float) -> None:
    plan = dataclasses.replace(recipe_with(defense), model=MLP((8, 8)), lr=lr, epochs=12)
    with pytest.raises(DivergedError, match=r"training diverged in epoch \d+ of 12.*Lower lr") as caught:
        fit(plan, TEST, None, 0)
    problem = caught.value
    assert 0 < problem.epoch < 12
    assert problem.last_good is not None
    assert all(torch.isfinite(value).all() for value in problem.last_good.values())
    assert f"The weights after epoch {problem.epoch - 1} are the error's `last_good`" in str(problem)
