from __future__ import annotations

import json
from pathlib import Path

import pytest

from membrane.core.errors import SettingError
from membrane.core.settings import fingerprint
from membrane.defenses import EarlyStopping, ShortSchedule
from membrane.models import MLP, ResNet18
from membrane.training import RECIPES, Defense, Recipe
from membrane.training.loop import sgd
from tests.training.jobs import small_recipe

RESULTS = Path(__file__).resolve().parents[2] / "results"


def rates(recipe: Recipe, n_batches: int = 3) -> list[float]:
    """Learning rate at the first update of every epoch."""
    return [round(recipe.lr_at(epoch * n_batches, n_batches), 10) for epoch in range(recipe.epochs)]


def measured(folder: str) -> dict[str, object]:
    whole: dict[str, object] = json.loads((RESULTS / folder / "undefended.json").read_text())
    return whole


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lab_cifar10", [0.01] * 50 + [0.001] * 30 + [0.0001] * 20),
        ("lab_cifar100", [0.01] + [0.1] * 49 + [0.01] * 30 + [0.001] * 20),
        ("aerni_cifar10", [0.1 / 3] + [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 39),
    ],
)
def test_learning_rates_are_those_of_the_source_epoch_by_epoch(name: str, expected: list[float]) -> None:
    assert rates(RECIPES.make(name)) == pytest.approx(expected)


def test_a_short_schedule_of_steps_is_the_whole_of_it() -> None:
    short = ShortSchedule(10).adapt(RECIPES.make("lab_cifar10"))
    assert rates(short) == pytest.approx([0.01] * 5 + [0.001] * 3 + [0.0001] * 2)


def test_momentum_of_the_sources_is_plain() -> None:
    parameters = list(MLP((4,)).network((3,), 2).parameters())
    for name, nesterov in (("lab_cifar10", False), ("aerni_cifar10", False), ("fast_cifar10", True)):
        assert sgd(RECIPES.make(name), parameters).param_groups[0]["nesterov"] is nesterov


def test_settings_beside_the_name_go_before_its_own() -> None:
    changed = RECIPES.make({"name": "lab_cifar10", "epochs": 3, "model": MLP()})
    assert (changed.epochs, changed.model, changed.lr) == (3, MLP(), 0.01)
    assert RECIPES.make("lab_cifar10").model == ResNet18()
    with pytest.raises(SettingError, match=r"Did you mean 'lab_cifar10'\?"):
        RECIPES.make("lab_cifar")
    with pytest.raises(SettingError, match=r"Did you mean 'epochs'\?"):
        RECIPES.make({"name": "lab_cifar10", "epoch": 3})


def test_a_training_that_stops_early_goes_by_the_whole_schedule() -> None:
    plain = Recipe(epochs=10, stop=4)
    assert plain.n_epochs == 4
    assert plain.lr_at(39, 10) == Recipe(epochs=10).lr_at(39, 10) > 0.05
    assert plain.again(2, 0.1, Defense()).n_epochs == 2
    assert ShortSchedule(3).adapt(plain).stop == 3
    assert ShortSchedule(6).adapt(plain).stop == 4
    for stop in (0, 11):
        with pytest.raises(SettingError, match="stop is"):
            Recipe(epochs=10, stop=stop)


def test_a_name_is_no_part_of_the_key() -> None:
    for name in RECIPES:
        named = RECIPES.make(name)
        fields = {key: getattr(named, key) for key in Recipe.__dataclass_fields__}
        assert named.training_settings() == Recipe(**fields).training_settings()
        assert named.with_defense(EarlyStopping(1)).training_settings() == named.training_settings()


def test_keys_from_before_steps_and_plain_momentum_are_as_they_were() -> None:
    """The settings of trainings that were stored under them, and a fingerprint that was computed then."""
    assert small_recipe().training_settings().keys().isdisjoint({"nesterov", "warmup", "milestones", "name"})
    assert fingerprint(Recipe().training_settings()) == "8a45782fc4aa8147"
    assert fingerprint(Recipe(model=MLP()).training_settings()) == "146fc5771dc749be"
    assert fingerprint(Recipe(model=MLP(standardize=False)).training_settings()) != "146fc5771dc749be"
    assert "stop" not in small_recipe().training_settings()
    assert small_recipe(stop=1).training_settings()["stop"] == 1
    changes = ({"nesterov": False}, {"warmup": 0}, {"milestones": ((0.5, 0.1),)}, {"milestones": ((0.4, 0.1),)})
    keys = {fingerprint(small_recipe(**change).training_settings()) for change in ({}, *changes)}
    assert len(keys) == 1 + len(changes)


@pytest.mark.parametrize(
    ("name", "changes", "folder"),
    [
        ("fast_cifar10", {}, "pptp_cifar10/plain"),
        ("fast_cifar10", {"augment": True}, "pptp_cifar10/augmented"),
        ("fast_location30", {}, "pptp_location30/plain"),
    ],
)
def test_what_a_recipe_says_was_measured_is_what_its_results_hold(
    name: str, changes: dict[str, object], folder: str
) -> None:
    found, recipe = measured(folder), RECIPES.make({"name": name, **changes})
    assert json.loads(json.dumps(recipe.training_settings())) == found["setting"]["recipe"]  # type: ignore[index]
    population = found["slices"]["population"]  # type: ignore[index]
    numbers = (
        found["accuracy"]["test"]["value"],  # type: ignore[index]
        found["accuracy_without_canaries"],
        population["attacks"][population["strongest"]]["auc"]["value"],
    )
    assert f"results/{folder}" in RECIPES.entry(name).measured
    for number in numbers:
        assert f"{number:.3f}".lstrip("0") in RECIPES.entry(name).measured


def test_every_recipe_says_where_it_is_from_for_what_and_what_was_measured() -> None:
    for name in RECIPES:
        entry = RECIPES.entry(name)
        assert all((entry.source, entry.made_for, entry.measured))
        assert "results/" in entry.measured or entry.measured.startswith("not measured here")


@pytest.mark.parametrize(
    "milestones", [((0.5,),), ((0.5, 0.1, 1.0),), ((0.8, 0.1), (0.5, 0.01)), ((0.5, 0.0),), ((1.0, 0.1),), ((-0.1, 1),)]
)
def test_milestones_that_are_none_are_refused(milestones: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(SettingError, match=r"milestones is .* it must be pairs"):
        small_recipe(milestones=milestones)


def test_a_negative_warm_up_is_refused_and_none_begins_at_the_whole_rate() -> None:
    with pytest.raises(SettingError, match="warmup is -1"):
        small_recipe(warmup=-1)
    assert small_recipe(warmup=0, lr=0.3).lr_at(0, 5) == 0.3
    slow = small_recipe(epochs=4, warmup=2, lr=0.3)
    assert [round(slow.lr_at(step, 2), 6) for step in range(5)] == [0.075, 0.15, 0.225, 0.3, 0.3]
