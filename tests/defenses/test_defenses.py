"""Every defense of the catalogue answers the same questions; a new defense is one row in ``rows.py``."""

from __future__ import annotations

import pytest

from membrane.cli import main
from membrane.cli.list import entries
from membrane.defenses import DEFENSES
from membrane.pptp import DEFENSES as ALL
from membrane.training import Defense
from tests.defenses import questions
from tests.defenses.rows import DEFENSE_ROWS, Row

rows = pytest.mark.parametrize("row", DEFENSE_ROWS, ids=str)
asked_rows = pytest.mark.parametrize("row", [row for row in DEFENSE_ROWS if row.asked], ids=str)
off_rows = pytest.mark.parametrize("row", [row for row in DEFENSE_ROWS if row.nothing is not None], ids=str)
slope_rows = pytest.mark.parametrize(
    "row", [row for row in DEFENSE_ROWS if row.asked and row.trains and row.slope], ids=str
)
strong_rows = pytest.mark.parametrize("row", [row for row in DEFENSE_ROWS if row.strong is not None], ids=str)


def test_every_defense_of_the_catalogue_has_a_row() -> None:
    assert {row.name for row in DEFENSE_ROWS} == set(DEFENSES)


@off_rows
def test_is_the_baseline_at_strength_zero(row: Row) -> None:
    questions.is_the_baseline_at_strength_zero(row, DEFENSES)


@strong_rows
def test_raises_the_members_loss(row: Row) -> None:
    questions.raises_the_members_loss(row, DEFENSES)


@slope_rows
def test_slope_is_that_of_the_loss(row: Row) -> None:
    questions.slope_is_that_of_the_loss(row, DEFENSES)


@asked_rows
def test_says_whether_it_trains(row: Row) -> None:
    questions.says_whether_it_trains(row, DEFENSES)


@asked_rows
def test_leaves_the_training_alone(row: Row) -> None:
    questions.leaves_the_training_alone(row, DEFENSES)


@asked_rows
def test_releases_a_whole_model(row: Row) -> None:
    questions.releases_a_whole_model(row, DEFENSES)


@rows
def test_declares_itself(row: Row) -> None:
    questions.declares_itself(row, DEFENSES)


@rows
def test_refuses_nonsense(row: Row) -> None:
    questions.refuses_nonsense(row, DEFENSES)


def test_the_list_shows_what_each_says_of_itself() -> None:
    found = {one["name"]: one for one in entries(ALL)}
    assert set(DEFENSES) < set(found)
    for name, one in found.items():
        assert {"source", "acts_on", "extra_data", "cost", "does_not_stop", "reading"} <= one.keys()
        assert (one["does_not_stop"] == Defense.does_not_stop) is (name == "undefended")


def test_what_is_only_a_reading_of_its_source_is_flagged_wherever_it_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flagged = {one["name"] for one in entries(ALL) if one["reading"]}
    assert flagged == {"kcd", "mist", "past", "cwrf", "purifier", "pptp", "frozen_plan"}
    assert main(["list", "defenses"]) == 0
    assert capsys.readouterr().out.count("a reading: its source was not whole at hand") == len(flagged)
