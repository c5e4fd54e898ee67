from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from membrane.cli import main
from membrane.cli.comparison_file import comparison_from, read_comparison
from membrane.core.errors import SettingError
from membrane.defenses import RelaxLoss
from membrane.pptp import DEFENSES
from membrane.verbs.comparison import Method, Tuned
from membrane.verbs.comparison.compare import examine

TINY = """\
title = "Tiny <comparison>"
methods = [
  { name = "undefended" },
  { name = "early_stopping", label = "stop", epoch = [1, 3] },
  { name = "early_stopping", label = "stop", epoch = 2 },
]
attacks = ["loss", "reference"]
[settings.digits]
data = { name = "digits", test = 297 }
model = { name = "mlp", widths = [24] }
recipe = { epochs = 4, lr = 0.1, batch_size = 50 }
audit = { references = 4, canaries = 30, pool = 400 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compare")
    (made / "compare.toml").write_text(TINY)
    assert main(["compare", str(made / "compare.toml"), "--out", str(made / "out"), "--quiet"]) == 0
    return made


def test_one_command_makes_a_page_that_loads_nothing(folder: Path) -> None:
    page = (folder / "out" / "report.html").read_text()
    assert "Tiny &lt;comparison&gt;" in page
    assert not re.search(r"<(?:link|img|iframe|script [^>]*src)|url\(|@import", page)
    for strength in ("epoch 1", "epoch 2", "epoch 3"):
        assert strength in page
    assert page.count('class="series') == 2 * len(re.findall(r'class="panel', page))
    assert (folder / "out" / "report-digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_is_made_again_from_the_cells(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (folder / "out" / "report.html").read_bytes()
    (folder / "out" / "report.html").unlink()
    (folder / "out" / "results.json").unlink()
    assert main(["report", str(folder / "out")]) == 0
    assert (folder / "out" / "report.html").read_bytes() == page
    capsys.readouterr()
    assert main(["report", str(folder / "out"), "--markdown"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("## Tiny &lt;comparison&gt;")
    assert "| stop | epoch 2 |" in told.replace("  ", " ")


def test_check_says_what_it_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "compare.toml")]) == 0
    told = capsys.readouterr().out
    assert "4 cells of 4 models, 4 trainings" in told
    assert "device cpu" in " ".join(told.split())
    assert "membrane compare" in told


def test_the_template_is_right(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "c.toml"), "--comparison"]) == 0
    compared = read_comparison(tmp_path / "c.toml")
    assert set(compared.settings) == {"mlp", "resnet"}
    assert len(compared.methods) == 6
    examine(compared.settings, compared.methods, compared.attacks, 1, 0, compared.engine)


def test_the_lines_that_the_template_shows_are_right(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "c.toml"), "--comparison"]) == 0
    shown = re.findall(r"^#   (\{.*\})$", (tmp_path / "c.toml").read_text(), re.MULTILINE)
    ranges, own = (_with(tomllib.loads(f"line = {one}")["line"]) for one in shown)
    assert ranges.ranges
    assert [one.recipe["lr"] for one in own.strengths] == [0.05, 0.1]


def test_a_run_and_a_comparison_are_not_taken_for_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(folder / "compare.toml"), "--out", str(folder / "no")]) == 2
    assert "membrane compare" in capsys.readouterr().err
    assert main(["init", str(folder / "run.toml")]) == 0
    assert main(["compare", str(folder / "run.toml"), "--out", str(folder / "no")]) == 2
    assert "settings" in capsys.readouterr().err
    assert not (folder / "no").exists()


def test_lists_sweep_ranges_search_and_both_are_refused() -> None:
    plain = {
        "settings": {"a": {"data": {"name": "digits"}, "model": {"name": "mlp"}}},
        "methods": ["undefended", {"name": "relaxloss", "alpha": [0.1, 1]}],
    }
    compared = comparison_from(plain, Path())
    assert [one.alpha for one in compared.methods[1].strengths] == [0.1, 1.0]
    plain["methods"][1] = {"name": "relaxloss", "label": "r", "alpha": {"low": 0.1, "high": 1, "log": True}}
    (method,) = comparison_from(plain, Path()).methods[1:]
    assert method.searched == RelaxLoss()
    assert method.ranges["alpha"].log
    plain["methods"][1] = {"name": "region_window", "regions": ["head"], "first": [1, 2], "last": 3}
    assert [one.first for one in comparison_from(plain, Path()).methods[1].strengths] == [1, 2]


def _with(method: dict[str, Any]) -> Method:
    settings = {"a": {"data": {"name": "digits"}, "model": {"name": "mlp"}}}
    return comparison_from({"settings": settings, "methods": ["undefended", method]}, Path()).methods[1]


def test_a_method_may_change_the_recipe_for_itself() -> None:
    made = _with({"name": "relaxloss", "alpha": [0.1, 1], "recipe": {"lr": [0.05, 1], "weight_decay": 0}})
    assert made.strengths == tuple(
        Tuned(RelaxLoss(alpha), {"lr": lr, "weight_decay": 0.0}) for alpha in (0.1, 1.0) for lr in (0.05, 1.0)
    )
    made = _with({"name": "relaxloss", "recipe": {"milestones": [[0.5, 0.1]], "trainable": ["head"]}})
    assert made.strengths == (Tuned(RelaxLoss(), {"milestones": ((0.5, 0.1),), "trainable": ("head",)}),)
    assert _with({"name": "relaxloss", "recipe": {}}).strengths == (RelaxLoss(),)
    made = _with({"name": "relaxloss", "recipe": {"lr": {"low": 0.01, "high": 1, "log": True}, "epochs": 9}})
    assert made.searched == Tuned(RelaxLoss(), {"epochs": 9})
    assert made.ranges["recipe.lr"].log


def test_no_defense_has_a_setting_that_is_called_as_its_recipe() -> None:
    assert all(one.name != "recipe" for name in DEFENSES for one in dataclasses.fields(DEFENSES.entry(name)))


def test_mistakes_in_recipes_of_methods_are_told_with_their_place() -> None:
    plain = {
        "settings": {"a": {"data": {"name": "digits"}, "model": {"name": "mpl"}}},
        "methods": [
            "undefended",
            {
                "name": "relaxloss",
                "alfa": 1.0,
                "recipe": {"lrr": 0.1, "model": {"name": "mlp"}, "momentum": [0.9, 2.0]},
            },
            {"name": "relaxloss", "label": "b", "recipe": 3},
            {"name": "relaxloss", "label": "c", "recipe": {"epochs": 99_999_999}},
            {"name": "relaxloss", "label": "d", "recipe": {"lr": []}},
            {"name": "relaxloss", "label": "e", "alpha": [1.0], "recipe": {"lr": {"low": 0.1, "high": 0.2}}},
            {"train": "own:train", "recipe": {"lr": 0.1}},
        ],
    }
    with pytest.raises(SettingError) as refused:
        comparison_from(plain, Path())
    told = refused.value.mistakes
    for part in (
        "settings.a: ",
        "methods, number 2: defense 'relaxloss' has no setting 'alfa'. Did you mean 'alpha'",
        "methods, number 2: recipe has no setting 'lrr'. Did you mean 'lr'",
        "methods, number 2: recipe: model cannot be changed for a method: the network is the setting's",
        "methods, number 2: recipe: momentum is 2.0",
        "methods, number 3: recipe is 3; it must be a table",
        "methods, number 4: recipe: epochs is 99999999; at most",
        "methods, number 5: defense 'relaxloss': a list is empty",
        "methods, number 6: alpha is a list and recipe.lr a range",
        "methods, number 7: train is your whole pipeline, so recipe would change nothing",
    ):
        assert sum(mistake.startswith(part) for mistake in told) == 1, part
    assert len(told) == 10


def test_every_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    plain = {
        "metods": [],
        "seeds": "two",
        "settings": {"a": {"data": {"name": "digits"}, "model": {"name": "mpl"}, "audits": {}}},
        "methods": ["undefended", {"name": "early_stoping"}, {"name": "early_stopping", "epoch": []}, 7],
        "search": {"trials": -1},
    }
    with pytest.raises(SettingError) as refused:
        comparison_from(plain, tmp_path)
    told = str(refused.value)
    for part in (
        "'metods'. Did you mean 'methods'",
        "seeds is 'two'",
        "settings.a: ",
        "Did you mean 'mlp'",
        "'audits'. Did you mean 'audit'",
        "methods, number 2: ",
        "Did you mean 'early_stopping'",
        "methods, number 3: ",
        "methods, number 4: this is 7",
        "trials is -1",
    ):
        assert part in told
