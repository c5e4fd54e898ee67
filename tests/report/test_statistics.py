from __future__ import annotations

from pathlib import Path

import pytest

from membrane.report import to_html
from membrane.report.against import against
from membrane.report.detail_tables import abouts
from membrane.report.guarantees import guarantees
from membrane.report.records import facts, groups, spread
from membrane.report.tables import defenses
from membrane.report.tier import tier
from tests.report.example import example
from tests.report.reading import Page


def test_changes_are_told_with_their_intervals() -> None:
    table = against(example())
    assert table is not None
    assert "Change against undefended" in table.caption
    assert table.heads[2:4] == ["Population AUC", "Population TPR at 1 % FPR, points"]
    assert (table.rows[-1][2].text, table.rows[-1][2].interval) == ("−0.284", "−0.289 to −0.279")
    assert against(example(1)) is None
    results = example(2)
    results["against"][0]["slices"]["population"]["tpr"] = []
    told = against(results)
    assert told is not None
    assert len(told.rows[0]) == len(told.columns) == 5  # no rate on the population


def test_single_examples_stand_beside_chance() -> None:
    table = spread(example())
    assert table is not None
    assert "each model accusing 1 % of its own non-members; by LiRA" in table.caption
    assert table.rows[0][4].n == "17.0 % by chance"
    assert (table.rows[0][5].text, table.rows[0][6].text) == ("0.21 %", "0.06 %")
    results = example()
    results["entries"][0]["risk"] = None
    other = spread(results)
    assert other is not None
    assert len(other.rows) == 4


def test_groups_are_named_only_where_all_together_allow_it() -> None:
    results = example(1)
    (label, sentence, table), *_ = groups(results)
    assert (label, sentence) == (
        "undefended",
        "Of 10 groups, class cat (+0.034 AUC) leaks more than the rest.",
    )
    assert table.rows[0][0].text == "class cat"
    assert table.rows[0][3].text == "< 0.001"
    for one in results["entries"][0]["groups"]["compared"]:
        one["adjusted"] = 0.051
    results["entries"][0]["groups"]["too_small"] = 1
    assert groups(results)[0][1] == (
        "None of 10 groups is seen to leak more than the rest. 1 group was too small to compare."
    )


def test_a_bound_a_promise_and_their_absence_are_told_apart() -> None:
    results = example()
    private = results["entries"][1]
    private["facts"] = {
        "epsilon": 3.2,
        "delta": 1e-5,
        "vacuous": False,
        "tpr_bound": 0.026,
        "tpr_bound_at_fpr": 0.001,
        "accountant": "rdp",
    }
    table = guarantees(results)
    assert table is not None
    assert [cell.text for cell in table.rows[1][1:5]] == ["3.2", "2.6 %", "limits every attack", "no bound"]
    assert [cell.text for cell in table.rows[0][1:5]] == ["none", "–", "no promise", "2.31"]
    private["facts"].update(epsilon=None, vacuous=True)
    results["entries"][0]["epsilon"].update(low=0.0)
    told = guarantees(results)
    assert told is not None
    assert (told.rows[1][1].text, told.rows[1][3].text) == ("unbounded", "vacuous: rules out next to nothing")
    assert told.rows[0][4].text == "no bound"
    for entry in results["entries"]:
        entry["epsilon"] = entry["facts"] = None
    assert guarantees(results) is None


def test_facts_of_a_defense_are_in_the_page(tmp_path: Path) -> None:
    page = Page.of(to_html(example(), tmp_path / "page.html", png=False).read_text("utf-8"))
    assert any("epoch 4.5 (3 to 6)" in row for row in page.rows)
    assert facts({"facts": {"epsilon": 1.0, "output": "labels"}}).text == "output labels"


def test_what_a_defense_says_of_itself_is_in_the_page(tmp_path: Path) -> None:
    table = abouts(example())
    assert table is not None
    assert [cell.text for cell in table.rows[-1]] == [
        "PPTP",
        "release",
        "holdout: 500 non-members or more, to choose on",
        "1.9 times the training, 1.0 times the answer",
        "whoever holds the trail",
        "a reading of Fang and Kim 2026, arXiv:2602.02296 (principle)",
    ]
    assert table.rows[-1][3].n == "500 digits"
    assert table.rows[0][3].text == "not measured"
    page = Page.of(to_html(example(), tmp_path / "a.html").read_text("utf-8"))
    assert "What each defense is, and what it is known not to stop" in page.text
    results = example(1)
    results["entries"][0]["about"] = None
    assert abouts(results) is None, "a function of the user's says nothing of itself"


def test_the_tier_names_the_next_and_its_cost() -> None:
    results = example(1)
    (first, following, unread) = tier(results)
    assert first == "Tier of this audit: few references (6 reference models per target)."
    assert "many references, takes 66 models for each pipeline (about 1 h 38 min of training more" in following
    assert unread == "Not part of it: attacks that read the weights."
    results["entries"][0]["seconds"] = None
    assert "training more" not in tier(results)[1]
    results["tier"].update(next=None, unread=None)
    assert len(tier(results)) == 1
    results["tier"] = None
    assert tier(results) == []


@pytest.mark.parametrize("count", [1, 5])
def test_a_refused_rate_says_what_it_would_take(count: int) -> None:
    table = defenses(example(count))
    refused = [cell for row in table.rows for cell in row if cell.kind == "refused"]
    assert refused
    for cell in refused:
        assert "takes 24,000 independent non-member trials" in table.notes[int(cell.mark) - 1]
