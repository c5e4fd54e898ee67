"""What progress says, and when."""

from __future__ import annotations

import pytest

from membrane.cli.progress import Bar


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_estimate_is_shown_at_once_and_the_rest_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Bar(clock=clock) as bar:
        bar("8 models to train: about 2 min", 0.0, 1.0)
        assert capsys.readouterr().err == "8 models to train: about 2 min\n"
        for _ in range(60):
            clock.now += 1
            bar("undefended: epochs", clock.now - 1000, 240)
    assert capsys.readouterr().err.splitlines() == [
        " 12%  undefended: epochs, about 4 min left",
        " 25%  undefended: epochs, about 3 min left",
    ]


def test_models_that_are_read_back_do_not_count_as_work(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Bar(clock=clock) as bar:
        clock.now += 1
        bar("undefended: stored models", 90, 100)
        clock.now += 60
        bar("undefended: models", 92, 100)
    assert capsys.readouterr().err == " 92%  undefended: models, about 4 min left\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(quiet=True) as bar:
        bar("estimate", 0, 1)
        bar("work", 1, 1)
    assert capsys.readouterr().err == ""
