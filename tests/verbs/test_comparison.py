from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import membrane
from membrane.core.errors import SettingError, StoreError, TrainingError
from membrane.core.store import Store
from membrane.data import Digits, Examples, Table
from membrane.defenses import L2, EarlyStopping, LabelSmoothing, RelaxLoss, ShortSchedule
from membrane.models import MLP
from membrane.pptp import RegionWindow
from membrane.report.comparison.curves import curves
from membrane.training import Defense, Recipe
from membrane.verbs.comparison import Comparison, Method, Range, Setting, Tuned, compare
from membrane.verbs.comparison.board import board, matched, points_of
from membrane.verbs.comparison.cells import cells_of, strength_texts
from membrane.verbs.comparison.compare import _file
from membrane.verbs.comparison.tuned import TUNABLE
from membrane.verbs.sizes import Sizes

RECIPE = Recipe(model=MLP((24,)), epochs=6, batch_size=50, lr=0.1)
SIZES = Sizes(references=4, canaries=40, pool=400)
SETTING = Setting(RECIPE, Digits(test=297), SIZES)
METHODS = (
    Method("undefended", (Defense(),)),
    Method("early stopping", (EarlyStopping(2), EarlyStopping(4))),
    Method("label smoothing", (LabelSmoothing(0.3),)),
)
ATTACKS = ("loss", "reference")


@functools.cache
def done(folder: Path) -> Comparison:
    return compare({"digits": SETTING}, METHODS, out=folder, seeds=2, attacks=ATTACKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("comparison")
    done(made)
    return made


def test_every_method_strength_and_seed_is_a_cell_and_a_point_is_its_mean(folder: Path) -> None:
    found = done(folder)
    assert len(found.cells) == 8
    assert not found.missing
    points = {(p["method"], p["strength"]): p for p in found.results["settings"][0]["points"]}
    assert list(points) == [
        ("undefended", ""),
        ("early stopping", "epoch 2"),
        ("early stopping", "epoch 4"),
        ("label smoothing", "epsilon 0.3"),
    ]
    one = points["early stopping", "epoch 2"]
    cells = [cell for cell in found.cells if cell["strength"] == "epoch 2"]
    areas = [cell["leakage"]["population"]["auc"]["value"] for cell in cells]
    assert [cell["seed"] for cell in cells] == one["seeds"] == [0, 1]
    assert one["leakage"]["population"]["auc"]["value"] == pytest.approx(np.mean(areas))
    assert one["leakage"]["population"]["auc"]["low"] < np.mean(areas) < one["leakage"]["population"]["auc"]["high"]
    assert one["cost"] == pytest.approx(1.0, abs=0.5)  # it shares the undefended training


def test_weights_that_no_later_cell_reads_are_let_go_and_the_baselines_stay(folder: Path, tmp_path: Path) -> None:
    found = done(folder)
    store = Store(folder / "store")
    assert len(list(store.keys("release"))) == 8 * 4
    assert len(list(store.keys("training"))) == 2 * 4, "of two seeds, four models of the baseline each"
    assert store.verify() == []
    few = {"digits": replace(SETTING, recipe=replace(RECIPE, epochs=2))}
    methods = (METHODS[0], METHODS[2])
    for kept, more in ((tmp_path / "a", {"keep_weights": True}), (tmp_path / "b", {"store": tmp_path / "shared"})):
        compare(few, methods, out=kept, attacks=ATTACKS, **more)  # type: ignore[arg-type]
        assert len(list(Store(more.get("store", kept / "store")).keys("training"))) == 2 * 4  # type: ignore[arg-type]
    assert found.cells


def test_a_cell_says_what_an_audit_of_the_same_says(folder: Path) -> None:
    cell = next(c for c in done(folder).cells if c["method"] == "label smoothing" and c["seed"] == 1)
    audit = membrane.audit(
        {"ours": RECIPE.with_defense(LabelSmoothing(0.3))},
        Digits(test=297),
        references=4,
        canaries=40,
        pool=400,
        attacks=ATTACKS,
        seed=1,
    )
    entry = audit.results["entries"][0]
    assert cell["accuracy"] == entry["accuracy"]
    for part, found in entry["slices"].items():
        best = found["attacks"][found["strongest"]]["auc"]["value"]
        assert cell["leakage"][part]["auc"]["value"] == best
        assert cell["leakage"][part]["auc"]["attack"] == found["strongest"]


def test_it_goes_on_where_it_was_with_the_same_bits(folder: Path) -> None:
    paths = sorted((folder / "cells").rglob("*.json"))
    before = {path: path.read_bytes() for path in paths}
    ages = {path: path.stat().st_mtime_ns for path in paths}
    results = json.dumps(_without_cost(done(folder).results))
    paths[3].unlink()
    half = Comparison.load(folder)
    assert len(half.missing) == 1
    again = compare({"digits": SETTING}, METHODS, out=folder, seeds=2, attacks=ATTACKS)
    assert json.dumps(_without_cost(again.results)) == results
    assert _timeless(paths[3].read_bytes()) == _timeless(before[paths[3]])
    assert all(path.stat().st_mtime_ns == ages[path] for path in paths if path != paths[3])


def _timeless(content: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(content).items() if name != "costs"}


def _without_cost(results: dict[str, Any]) -> list[Any]:
    return [[{k: v for k, v in point.items() if k != "cost"} for point in one["points"]] for one in results["settings"]]


def test_cells_of_an_earlier_setting_are_not_taken_for_this_one(folder: Path, tmp_path: Path) -> None:
    few = replace(SETTING, sizes=replace(SIZES, canaries=20))
    first = compare({"digits": SETTING}, METHODS[:2], out=tmp_path, attacks=ATTACKS)
    plan = json.loads((tmp_path / "comparison.json").read_text())
    plan["settings"]["digits"]["audit"]["canaries"] = 20  # as if a changed comparison had just begun
    (tmp_path / "comparison.json").write_text(json.dumps(plan))
    assert len(Comparison.load(tmp_path).missing) == 3
    with pytest.raises(StoreError, match="no cell of the comparison is measured yet"):
        Comparison.load(tmp_path).save(tmp_path)
    second = compare({"digits": few}, METHODS[:2], out=tmp_path, attacks=ATTACKS)
    assert not second.missing
    assert second.cells[0]["task"]["canaries"] == 20 != first.cells[0]["task"]["canaries"]


def test_where_data_lie_is_no_part_of_what_was_measured(tmp_path: Path) -> None:
    rows = [f"{i % 7},{i * i % 11},{i},{'ab'[i % 3 == 0]}" for i in range(700)]
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "t.csv").write_text("\n".join(["x,y,z,label", *rows]))
    written = []
    for place in ("here", "there"):
        setting = replace(SETTING, data=Table(str(tmp_path / place / "t.csv")))
        assert not compare({"t": setting}, METHODS[:2], out=tmp_path / "out", attacks=ATTACKS).missing
        written.append({path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("cells/t/*.json")})
    assert written[0] == written[1]
    assert str(tmp_path) not in (tmp_path / "out" / "comparison.json").read_text()


def test_a_cell_that_diverges_is_kept_as_such_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
        raise TrainingError("loss is nan in epoch 3.")

    methods = (*METHODS[:1], Method("broken", (broken,)), *METHODS[2:])
    found = compare({"digits": SETTING}, methods, out=tmp_path, attacks=ATTACKS)
    assert [one["method"] for one in found.results["failed"]] == ["broken"]
    assert "loss is nan in epoch 3" in found.results["failed"][0]["why"]
    assert {point["method"] for point in found.results["settings"][0]["points"]} == {"undefended", "label smoothing"}
    row = next(row for row in found.results["board"][0]["rows"] if row["method"] == "broken")
    assert row["share_left"] is None


def test_a_function_of_ones_own_is_a_method(tmp_path: Path) -> None:
    def mine(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
        return RECIPE.with_defense(EarlyStopping(1))(members, holdout, generator)

    found = compare({"digits": SETTING}, (METHODS[0], Method("mine", (mine,))), out=tmp_path, attacks=ATTACKS)
    base, ours = (point["leakage"]["population"]["auc"]["value"] for point in found.results["settings"][0]["points"])
    assert ours < base


def test_all_mistakes_come_at_once_before_anything_is_trained(tmp_path: Path) -> None:
    wrong = {
        "a/b": SETTING,
        "defended": replace(SETTING, recipe=RECIPE.with_defense(RelaxLoss(1.0))),
    }
    with pytest.raises(SettingError) as refused:
        compare(wrong, (Method("x", (Defense(), EarlyStopping(1))), Method("x", (Defense(),))), out=tmp_path, seeds=0)
    told = str(refused.value)
    for part in ("'a/b'", "'relaxloss'", "seeds is 0", "two methods are called 'x'", "is the baseline"):
        assert part in told
    with pytest.raises(SettingError) as refused:
        compare(
            {"digits": SETTING},
            (METHODS[0], Method("late", (EarlyStopping(9),)), Method("window", (RegionWindow(("nowhere",), 1, 2),))),
            out=tmp_path,
        )
    assert "late" in str(refused.value)
    assert "nowhere" in str(refused.value)
    assert not os.listdir(tmp_path)


def test_a_method_refuses_ranges_that_do_not_fit() -> None:
    with pytest.raises(SettingError, match=r"no number 'alfa' to search\. Did you mean 'alpha'"):
        Method("x", (), RelaxLoss(), {"alfa": Range(0.1, 1.0)})
    with pytest.raises(SettingError, match="epsilon"):
        Method("x", (), LabelSmoothing(), {"epsilon": Range(0.1, 7.0)})
    with pytest.raises(SettingError, match="no strength"):
        Method("x")
    with pytest.raises(SettingError, match="low must be below high"):
        Range(2.0, 1.0)
    with pytest.raises(SettingError, match="above 0"):
        Range(0.0, 1.0, log=True)


def test_strengths_are_called_by_what_differs() -> None:
    assert strength_texts([EarlyStopping(3)]) == ["epoch 3"]
    assert strength_texts([RegionWindow(("head",), 1, 3), RegionWindow(("head",), 2, 3)]) == ["first 1", "first 2"]
    assert strength_texts([Defense()]) == [""]


# A method's own recipe.

TUNED = (METHODS[0], Method("smooth", (LabelSmoothing(0.3), Tuned(LabelSmoothing(0.3), {"lr": 0.02, "epochs": 6}))))


def test_a_method_may_be_trained_otherwise_and_its_cells_say_how(tmp_path: Path) -> None:
    few = {"digits": replace(SETTING, sizes=replace(SIZES, canaries=0, pool=200))}
    compare(few, (METHODS[0], METHODS[2]), out=tmp_path, attacks=ATTACKS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "cells").rglob("*.json")}
    own = Tuned(LabelSmoothing(0.3), {"lr": 0.02, "epochs": 6})  # six epochs are the setting's
    methods = (METHODS[0], Method("label smoothing", (LabelSmoothing(0.3), own)))
    found = compare(few, methods, out=tmp_path, attacks=ATTACKS)
    after = {path.name: path.read_bytes() for path in (tmp_path / "cells").rglob("*.json")}
    assert {name: after.get(name) for name in before} == before  # found again, not measured anew
    assert len(after) == 3
    plain, tuned = found.cells[1:]
    assert "recipe" not in plain
    assert tuned["recipe"] == {"lr": 0.02}
    assert plain["defense"] == tuned["defense"]
    assert plain["accuracy"]["test"] != tuned["accuracy"]["test"]
    points = found.results["settings"][0]["points"]
    assert [point.get("recipe") for point in points] == [None, None, {"lr": 0.02}]
    ages = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.json")}
    compare(few, methods, out=tmp_path, attacks=ATTACKS)
    assert {path: path.stat().st_mtime_ns for path in ages} == ages
    assert "recipe: lr 0.02" in curves(found.results, found.results["settings"][0]).svg  # of its mark
    assert "| lr 0.02 |" in re.sub(" +", " ", found.to_markdown())
    assert "the setting's" in found.to_markdown()


@pytest.mark.slow
def test_a_tuned_cell_says_what_an_audit_by_the_changed_recipe_says(tmp_path: Path) -> None:
    found = compare({"digits": SETTING}, TUNED, out=tmp_path, attacks=ATTACKS)
    audit = membrane.audit(
        {"ours": replace(RECIPE, lr=0.02, defense=LabelSmoothing(0.3))},
        Digits(test=297),
        references=4,
        canaries=40,
        pool=400,
        attacks=ATTACKS,
    )
    assert found.cells[2]["accuracy"] == audit.results["entries"][0]["accuracy"]


def test_cells_keep_their_names_unless_the_recipe_differs() -> None:
    (_, plain, tuned) = cells_of({"digits": SETTING}, TUNED, {}, 0, 1)
    assert plain.plain == {
        "setting": "digits",
        "method": "smooth",
        "strength": "",
        "defense": {"name": "label_smoothing", "epsilon": 0.3},
        "seed": 0,
    }
    assert tuned.plain == plain.plain | {"strength": "lr 0.02, epochs 6", "recipe": {"lr": 0.02}}
    assert _file(plain) == "cells/digits/smooth-5c6b67a1-seed0.json"  # as it was before there were such changes
    assert _file(tuned) == "cells/digits/smooth-b3799e88-seed0.json"
    (_, same) = cells_of({"digits": SETTING}, (METHODS[0], Method("smooth", (Tuned(LabelSmoothing(0.3)),))), {}, 0, 1)
    (_, said) = cells_of(
        {"digits": SETTING}, (METHODS[0], Method("smooth", (Tuned(LabelSmoothing(0.3), {"lr": 0.1}),))), {}, 0, 1
    )
    assert _file(same) == _file(said) == _file(plain)
    assert same.train == said.train == plain.train


def test_strengths_are_called_by_their_recipe_where_it_differs() -> None:
    smooth = LabelSmoothing(0.3)
    assert strength_texts([Tuned(smooth, {"lr": 0.05})]) == ["epsilon 0.3"]
    assert strength_texts([Tuned(Defense(), {"lr": lr, "epochs": 9}) for lr in (0.05, 1)]) == ["lr 0.05", "lr 1"]
    assert strength_texts([smooth, Tuned(LabelSmoothing(0.1), {"augment": True})]) == [
        "epsilon 0.3",
        "epsilon 0.1, augment yes",
    ]
    assert strength_texts([smooth, Tuned(LabelSmoothing(0.1))]) == ["epsilon 0.3", "epsilon 0.1"]
    both = [Tuned(L2(decay), {"weight_decay": 2 * decay}) for decay in (0.1, 0.2)]
    assert strength_texts(both)[0] == "weight_decay 0.1, recipe.weight_decay 0.2"


def test_what_no_method_may_change_about_a_recipe_is_refused_all_at_once() -> None:
    wrong = {"lrr": 0.1, "model": MLP(), "defense": Defense(), "start": "w", "name": "x", "compile": True}
    with pytest.raises(SettingError) as refused:
        Tuned(Defense(), {**wrong, "epochs": 2.5, "augment": 1})
    assert len(refused.value.mistakes) == 8
    assert "no setting 'lrr'. Did you mean 'lr'?" in refused.value.mistakes[0]
    assert "another setting" in refused.value.mistakes[1]
    with pytest.raises(SettingError) as refused:
        Tuned(Defense(), {"epochs": 0, "momentum": 1.0})
    assert len(refused.value.mistakes) == 2
    own = Tuned(Defense(), {"lr": 1, "milestones": [[0.5, 1]], "lora": 2}).recipe
    assert own == {"lr": 1.0, "milestones": ((0.5, 1.0),), "lora": 2}
    assert set(own) < set(TUNABLE)
    assert "trainable" in Tuned(Defense(), {"trainable": ["head"]}).recipe
    assert Tuned(Defense(), {"trainable": None}).recipe == {"trainable": None}


def test_changes_that_do_not_fit_a_setting_are_refused_before_its_data_are_loaded(tmp_path: Path) -> None:
    nowhere = replace(SETTING, data=Table(str(tmp_path / "nothing.csv")))
    methods = (
        Method("base", (Tuned(Defense(), {"lr": 0.2}),)),
        Method("adapters", (Tuned(Defense(), {"lora": 4}),)),
        Method("short", (Tuned(ShortSchedule(3), {"epochs": 5}),)),
        Method("searched", (), Tuned(L2(0.1), {"weight_decay": 0.01}), {"recipe.lr": Range(0.01, 0.1)}),
    )
    with pytest.raises(SettingError) as refused:
        compare({"here": nowhere}, methods, out=tmp_path / "out")
    told = refused.value.mistakes
    assert len(told) == 4
    assert "is the baseline and has no recipe of its own" in told[0]
    assert "here: adapters: recipe: lora adapts" in told[1]
    assert "here: short: recipe: epochs is 5, but short_schedule makes 3 of it" in told[2]
    assert "here: searched: recipe: weight_decay is 0.01, but l2 makes 0.1 of it" in told[3]


def test_numbers_of_a_recipe_may_be_searched() -> None:
    ranges = {"epsilon": Range(0.1, 0.5), "recipe.lr": Range(0.01, 0.1), "recipe.epochs": Range(2, 8)}
    method = Method("x", (), Tuned(LabelSmoothing(), {"nesterov": False}), ranges)
    assert method.ends == (
        Tuned(LabelSmoothing(0.1), {"nesterov": False, "lr": 0.01, "epochs": 2}),
        Tuned(LabelSmoothing(0.5), {"nesterov": False, "lr": 0.1, "epochs": 8}),
    )
    assert isinstance(method.ends[0].recipe["epochs"], int)
    assert Method("x", (), RelaxLoss(), {"alpha": Range(0.1, 1.0)}).at({"alpha": 0.2}) == RelaxLoss(0.2)
    with pytest.raises(SettingError, match=r"no number 'recipe\.l' to search\. Did you mean 'recipe\.lr'"):
        Method("x", (), RelaxLoss(), {"recipe.l": Range(0.1, 1.0)})
    with pytest.raises(SettingError, match=r"momentum is 1\.5"):
        Method("x", (), RelaxLoss(), {"recipe.momentum": Range(0.1, 1.5)})


# The board, on numbers made by hand: replicates lie evenly around the values.

SPREAD = np.linspace(-0.01, 0.01, 101)


def _cell(
    method: str, accuracy: float, area: float, strength: str = "", seed: int = 0, wide: float = 1.0
) -> dict[str, Any]:
    order = np.random.default_rng(abs(hash((method, strength, seed))) % 2**32)
    return {
        "setting": "s",
        "method": method,
        "strength": strength,
        "seed": seed,
        "accuracy": {"test": {"value": accuracy, "low": accuracy, "high": accuracy}, "train": {"value": 1.0}},
        "accuracy_replicates": [accuracy] * 101,
        "leakage": {
            "population": {
                "auc": {"attack": "loss", "value": area, "replicates": list(area + wide * order.permutation(SPREAD))}
            }
        },
        "slices": {"population": {"attacks": {"loss": {"auc": {"value": area, "low": area, "high": area}, "tpr": []}}}},
        "task": {"n_models": 8},
        "costs": {"train": 1.0, "finish": 0.0},
    }


def test_methods_are_compared_at_equal_accuracy() -> None:
    cells = [
        _cell("base", 0.80, 0.90),
        _cell("good", 0.80, 0.70, "1"),
        _cell("good", 0.77, 0.60, "2"),
        _cell("close", 0.80, 0.701),
        _cell("costly", 0.70, 0.51),
    ]
    levels = {(one["slice"], one["measure"], one["loss"]): one for one in matched(points_of(cells, "s"), "base")}
    now = levels["population", "auc", 0.0]
    rows = {row["method"]: row for row in now["rows"]}
    assert now["leader"] == "good"
    assert rows["good"]["share_left"] == pytest.approx(0.5)
    assert rows["base"]["behind"]["value"] == pytest.approx(0.2)
    assert rows["base"]["behind"]["low"] > 0  # told apart
    assert rows["close"]["behind"]["low"] < 0 < rows["close"]["behind"]["high"]  # not told apart
    assert rows["good"]["over_baseline"]["value"] == pytest.approx(0.2)
    assert rows["costly"]["value"] is None  # it costs ten points
    later = levels["population", "auc", 0.02]
    assert next(row for row in later["rows"] if row["method"] == "good")["value"] == pytest.approx(0.6 + 0.1 / 3)
    ((first, *_),) = (board({"s": list(levels.values())}, ["base", "good", "close", "costly"], 0.0),)
    assert first["method"] == "good"
    assert first["settings"]["s"]["with_leader"]


def test_seeds_that_not_all_have_are_left_out_of_paired_differences() -> None:
    cells = [_cell("base", 0.8, 0.9), _cell("base", 0.8, 0.8, seed=1), _cell("ours", 0.8, 0.6)]
    level = matched(points_of(cells, "s"), "base")[0]
    assert level["seeds"] == [0]
    assert next(row for row in level["rows"] if row["method"] == "base")["value"] == pytest.approx(0.9)
    only = matched(points_of([_cell("base", 0.8, 0.9), _cell("ours", 0.8, 0.6, seed=1)], "s"), "base")
    assert only == []


def test_no_leak_left_is_a_share_of_zero_and_no_leak_at_all_has_no_share() -> None:
    cells = [_cell("base", 0.8, 0.9), _cell("ours", 0.8, 0.5)]
    rows = {row["method"]: row for row in matched(points_of(cells, "s"), "base")[0]["rows"]}
    assert rows["ours"]["share_left"] == pytest.approx(0.0)
    cells = [_cell("base", 0.8, 0.5), _cell("ours", 0.8, 0.5)]
    assert all(row["share_left"] is None for row in matched(points_of(cells, "s"), "base")[0]["rows"])
