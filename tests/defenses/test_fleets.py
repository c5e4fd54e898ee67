"""Every defense in a fleet: a kill costs no finished model and changes no bit; what is measured is what is released."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet

from membrane.core import Store
from membrane.core.generators import torch_generator
from membrane.data import Task
from membrane.models import check_steady, signals_of
from membrane.pptp import DEFENSES
from membrane.training import Bank, Defense, Finished, Recipe, Trained, train_fleet, train_model
from tests.defenses.rows import DEFENSE_ROWS, Row
from tests.training import jobs
from tests.training.jobs import bank_bits, small_recipe

ROWS = [0, 1]
QUICK = {
    "advreg": {"attack_steps": 1},
    "memguard": {"epochs": 3},
    "purifier": {"epochs": 3},
    "dp_sgd": {"clipping": "adaptive", "noise": 0.1},
}
REGION = "head"
OF_REGIONS = (  # rows of its own kind, so that these defenses are asked too
    Row("gradient_routing", strong={"regions": [REGION], "inner": {"name": "relaxloss", "alpha": 0.7}}, trains=True),
    Row("rewind_refit", strong={"regions": [REGION], "first": 0, "last": 1, "epochs": 2}),
    Row("out_of_fold_refit", strong={"first": 0, "last": 1, "folds": 2, "fork_epochs": 1, "epochs": 1}),
    Row("region_window", strong={"first": 0, "last": 1}),
    Row("frozen_plan", strong={"plan": {"stretches": [{"region": REGION, "first": 0, "last": 1}]}}),
)


class KilledError(BaseException):
    """As a signal would."""


@functools.cache
def task() -> Task:
    return jobs.task()


def plan(row: Row) -> Recipe:
    defense = row.make({**(row.strong or {}), **QUICK.get(row.name, {})}, DEFENSES)
    return small_recipe(epochs=3, defense=defense)


def bank(recipe: Recipe, folder: Path, progress: Callable[[str, int, int], None] = lambda *_: None) -> Bank:
    return train_fleet(recipe, task(), Store(folder), 0, progress, rows=ROWS)


def rows(*chosen: Row) -> list[ParameterSet]:
    marks = {"dp_sgd": pytest.mark.extras("opacus"), "memguard": pytest.mark.slow}
    return [pytest.param(row, id=str(row), marks=marks.get(row.name, ())) for row in chosen]


def test_every_defense_is_asked() -> None:
    asked = {row.name for row in (*DEFENSE_ROWS, *OF_REGIONS)}
    assert set(DEFENSES) - asked == {"pptp"}, "which needs more examples: tests/verbs has a fleet of it"


@pytest.mark.parametrize("row", rows(*DEFENSE_ROWS, *OF_REGIONS))
def test_a_killed_fleet_ends_with_the_same_bits(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, told = plan(row), 0

    def count(*_: object) -> None:
        nonlocal told
        told += 1

    whole = bank(recipe, tmp_path / "whole", count)
    assert told > 1
    kill = told // 2

    def killing(*_: object) -> None:
        nonlocal kill
        kill -= 1
        if kill < 0:
            raise KilledError

    with pytest.raises(KilledError):
        bank(recipe, tmp_path / "killed", killing)
    assert bank_bits(bank(recipe, tmp_path / "killed")) == bank_bits(whole)
    if recipe.defense.overrides("finish"):
        kill_in_finish(type(recipe.defense), monkeypatch)
        with pytest.raises(KilledError):
            bank(recipe, tmp_path / "finishing")
        assert bank_bits(bank(recipe, tmp_path / "finishing")) == bank_bits(whole)


def kill_in_finish(cls: type[Defense], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second model of a fleet is killed once it is trained, before it is released; the next try is let be."""
    real, calls = cls.finish, 0

    def finish(self: Defense, trained: Trained, generator: torch.Generator) -> Finished:
        nonlocal calls
        calls += 1
        if calls == len(ROWS):
            raise KilledError
        return real(self, trained, generator)

    monkeypatch.setattr(cls, "finish", finish)


REWRITING = [row for row in DEFENSE_ROWS if DEFENSES.entry(row.name).rewrites_answers]


@pytest.mark.parametrize("row", rows(*REWRITING))
def test_the_released_model_is_what_is_measured_and_it_answers_steadily(row: Row, tmp_path: Path) -> None:
    recipe = plan(row)
    found = bank(recipe, tmp_path).pool
    trained = train_model(recipe, task(), Store(tmp_path), 0, 1)
    released = recipe.defense.release(recipe.defense.finish(trained, torch_generator(0, "finish", 1)).model)
    expected, bare = (signals_of(model, task().pool) for model in (released, trained.model))
    np.testing.assert_array_equal(found.loss[1], expected.loss)
    np.testing.assert_array_equal(found.entropy[1], expected.entropy)
    check_steady(released, task().pool)
    if row.name not in ("top_k", "memguard"):  # which leave three classes, or what its classifier is unsure of, alone
        assert np.abs(expected.entropy - bare.entropy).max() > 1e-3
