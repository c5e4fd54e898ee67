"""``membrane one-run`` from a run file to a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from membrane.cli import main
from membrane.verbs import OneRun
from tests.cli.runs import TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(TINY.replace("epochs = 4", "epochs = 40").replace("[16, 16]", "[64]"))
    return file


def test_one_model_is_trained_and_its_verdict_told(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tiny.parent / "one"
    line = ["one-run", tiny, "--out", out, "--canaries", "300", "--delta", "0", "--attacks", "loss", "confidence"]
    assert main([*map(str, line), "--quiet"]) == 0
    printed, found = capsys.readouterr().out, OneRun.load(out)
    assert found.epsilon_low > 0.5
    assert f"Epsilon is above {found.epsilon_low:.2f}" in printed
    assert "results.json" in printed
    assert found.results["settings"]["seed"] == 3
    assert found.results["task"]["holdout"] == 500
    assert len(found.results["audits"]) == 6


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--defense", "undefend"], "Did you mean 'undefended'"),
        (["--attacks", "lira"], "needs 2"),
        (["--delta", "0.5"], "delta is 0.5"),
        (["--device", "cuda:77"], "device is cuda:77"),
    ],
)
def test_what_cannot_be_is_refused(
    more: list[str], complaint: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["one-run", str(tiny), "--out", str(tiny.parent / "one"), "--quiet", *more]) == 2
    assert complaint in capsys.readouterr().err
