"""Costs that are shown are those that were measured, for every defense there is, at the settings it has now."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from membrane.core.settings import to_plain
from membrane.pptp import DEFENSES
from membrane.training.costs import Cost, cost_of

PROJECT = Path(__file__).resolve().parents[2]

if not (PROJECT / "benchmarks").is_dir():
    pytest.skip("benchmarks are in the repository, not in the source distribution", allow_module_level=True)

from benchmarks import defense_cost  # noqa: E402
from benchmarks.defense_cost import RESULTS, SHOWN, defense_of, entries, table, times  # noqa: E402


def test_what_is_shown_is_the_median_of_what_was_measured() -> None:
    measured, shown = (json.loads(path.read_text("utf-8")) for path in (RESULTS, SHOWN))
    assert shown["measured_on"] == measured["measured_on"]
    assert shown["ratios"].keys() == measured["entries"].keys() == set(DEFENSES)
    for name, one in measured["entries"].items():
        assert one["defense"] == to_plain(defense_of(name)), "settings have changed: measure again"
        for part in ("training", "answering"):
            ratios = [a / b for a, b in zip(one[part]["seconds"], one[part]["undefended"], strict=True)]
            assert one[part]["ratio"] == round(statistics.median(ratios), 3)
            assert shown["ratios"][name][part] == one[part]["ratio"]
            assert len(ratios) >= 3


def test_the_costs_have_the_size_that_the_definitions_give_them() -> None:
    found = {name: cost_of(name) for name in DEFENSES}
    cost = {name: one for name, one in found.items() if one is not None}
    assert len(cost) == len(DEFENSES)
    assert (cost["undefended"].training, cost["undefended"].answering) == (1, 1)
    assert 12 < cost["selena"].training < 24, "15 trainings' worth of sub-models, and one"
    assert 4 < cost["kcd"].training < 7, "5 teachers on four fifths, and one"
    assert 1.6 < cost["sam"].training < 2.6, "two passes"
    assert cost["short_schedule"].training < 0.6, "8 epochs of 24"
    assert 1.5 < cost["hamp_output"].answering < 3.5, "two forward passes, and a draw for each query"
    assert cost["memguard"].answering > 10
    assert str(Cost(16.4, 1.04, "here")) == "16 times the training, 1.0 times the answer"


def test_a_defense_of_ones_own_is_not_said_to_be_measured() -> None:
    assert cost_of("my_own") is None


def test_a_ratio_is_that_of_its_own_round() -> None:
    rounds = [{"undefended": (u, 0.1), "sam": (s, 0.2)} for u, s in ((1.0, 2.0), (4.0, 9.0), (1.0, 2.1))]
    found = entries(rounds)["sam"]
    assert found["training"] == {"seconds": [2.0, 9.0, 2.1], "undefended": [1.0, 4.0, 1.0], "ratio": 2.1}
    assert found["answering"]["ratio"] == 2.0


def test_what_is_measured_again_replaces_what_lies_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESULTS", "SHOWN"):
        monkeypatch.setattr(defense_cost, name, tmp_path / f"{name}.json")
    first, again = (
        dict.fromkeys(("undefended", "sam", "l2"), (1.0, 1.0)),
        {"undefended": (1.0, 1.0), "l2": (3.0, 1.0)},
    )
    defense_cost.write(entries([first]))
    defense_cost.write({"l2": entries([again])["l2"]})
    shown = json.loads((tmp_path / "SHOWN.json").read_text("utf-8"))["ratios"]
    assert {name: one["training"] for name, one in shown.items()} == {"undefended": 1, "sam": 1, "l2": 3}


@pytest.mark.slow
def test_it_measures_again() -> None:
    rounds = [{name: times(defense_of(name), 0) for name in ("undefended", "sam")}]
    found = entries(rounds)
    assert 1.2 < found["sam"]["training"]["ratio"] < 3.5
    assert table(found).count("\n") == 3
