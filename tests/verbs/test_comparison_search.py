from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from membrane.core.errors import SettingError
from membrane.data import Digits, Splits
from membrane.defenses import EarlyStopping, LabelSmoothing, RelaxLoss
from membrane.models import MLP
from membrane.training import Defense, Recipe
from membrane.verbs.comparison import Comparison, Method, Range, Search, Setting, compare
from membrane.verbs.sizes import Sizes

RECIPE = Recipe(model=MLP((24,)), epochs=6, batch_size=50, lr=0.1)
SPLITS = Digits(test=297).load()
SETTING = Setting(RECIPE, SPLITS, Sizes(references=4, canaries=20, pool=400))
METHODS = (
    Method("undefended", (Defense(),)),
    Method("early stopping", (), EarlyStopping(1), {"epoch": Range(1, 5)}),
    Method("RelaxLoss", (RelaxLoss(0.1),), RelaxLoss(), {"alpha": Range(0.05, 2.0, log=True)}),
)
SEARCH = Search(trials=7, keep=2)


def _run(out: Path, search: Search = SEARCH, setting: Setting = SETTING) -> Comparison:
    return compare({"digits": setting}, METHODS, out=out, attacks=("loss", "reference"), search=search)


def _trials(found: Comparison) -> list[Any]:
    return [one["trials"] for one in found.plan["searches"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return _run(tmp_path_factory.mktemp("search"))


@pytest.mark.extras
def test_strengths_on_the_frontier_are_compared(whole: Comparison) -> None:
    assert [len(trials) for trials in _trials(whole)] == [7, 7]
    points = [point for point in whole.results["settings"][0]["points"] if point["method"] == "early stopping"]
    assert 1 <= len(points) <= 2
    relax = [point for point in whole.results["settings"][0]["points"] if point["method"] == "RelaxLoss"]
    assert 2 <= len(relax) <= 3  # the listed one beside what was found
    for trial in _trials(whole)[0]:
        assert trial["values"]["epoch"] in range(1, 6)
        assert 0.4 < trial["leakage"] < 1


@pytest.mark.extras
def test_a_search_that_was_broken_off_ends_where_an_unbroken_one_does(whole: Comparison, tmp_path: Path) -> None:
    _run(tmp_path, replace(SEARCH, trials=3))
    assert _trials(_run(tmp_path)) == _trials(whole)


@pytest.mark.extras
def test_a_recipe_is_searched_with_the_defense(tmp_path: Path) -> None:
    ranges = {"epsilon": Range(0.1, 0.5), "recipe.lr": Range(0.01, 0.2, log=True)}
    methods = (METHODS[0], Method("smooth", (), LabelSmoothing(), ranges))
    search = Search(trials=2, keep=1)
    found = compare({"digits": SETTING}, methods, out=tmp_path, attacks=("loss", "reference"), search=search)
    ((first, second),) = _trials(found)
    assert set(first["values"]) == set(ranges)
    assert first["accuracy"] != second["accuracy"]
    kept = found.cells[1]
    assert {"epsilon": kept["defense"]["epsilon"], "recipe.lr": kept["recipe"]["lr"]} in (
        first["values"],
        second["values"],
    )


@pytest.mark.extras
def test_the_test_set_has_no_part_in_the_choice(whole: Comparison, tmp_path: Path) -> None:
    wrong = replace(SPLITS.test, y=torch.zeros_like(SPLITS.test.y))
    found = _run(tmp_path, setting=replace(SETTING, data=Splits(SPLITS.train, wrong)))
    assert _trials(found) == _trials(whole)
    assert found.cells[0]["accuracy"] != whole.cells[0]["accuracy"]


@pytest.mark.extras
def test_a_database_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for where in (
        "nonsense",
        f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}",
        "postgresql://nobody@127.0.0.1:1/x",
    ):
        with pytest.raises(SettingError, match="cannot be used"):
            _run(tmp_path / "out", replace(SEARCH, database=where))


def test_a_search_refuses_what_makes_no_sense() -> None:
    with pytest.raises(SettingError) as refused:
        Search(trials=0, models=3, keep=0, within=0.0)
    assert len(refused.value.mistakes) == 4
