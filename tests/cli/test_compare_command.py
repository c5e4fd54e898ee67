from __future__ import annotations

import re
from pathlib import Path

import pytest

from membrane.cli import main
from membrane.cli.comparison_file import comparison_from, read_comparison
from membrane.core.errors import SettingError
from membrane.defenses import RelaxLoss
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
    assert "membrane compare" in told


def test_the_template_is_right(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "c.toml"), "--comparison"]) == 0
    compared = read_comparison(tmp_path / "c.toml")
    assert set(compared.settings) == {"mlp", "resnet"}
    assert len(compared.methods) == 6
    examine(compared.settings, compared.methods, compared.attacks, 1, 0, compared.engine)


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
