from __future__ import annotations

import re
from typing import Any

import pytest

from membrane.report import to_markdown, verdict
from membrane.report.limits import limits
from tests.report.example import example


def test_one_entry_in_the_agreed_words() -> None:
    assert verdict(example(1)) == [
        "The strongest of 6 attacks (LiRA) ranks a random member above a random non-member in 95.4 % of pairs "
        "(95 % interval 95.0–95.8, 78,400 members, 77,600 non-members; 50 % is guessing). On the 250 planted canaries "
        "LiRA catches 98.2 % of members (95 % interval 97.2–99.2, 982 of 1,000) while accusing 1 % of non-members."
    ]


def test_several_entries_are_compared_with_the_baseline_at_their_accuracy() -> None:
    first, *others = verdict(example())
    assert first.startswith("undefended: The strongest of 6 attacks (LiRA)")
    assert first.endswith("Test accuracy is 52.8 % (95 % interval 52.5–53.2, 80,000 predictions).")
    assert len(others) == 4
    assert others[-1].startswith(
        "PPTP: lower measured leakage (−0.284 AUC, −0.289 to −0.279), test accuracy 55.1 % against 52.8 % "
        "(+2.3 points, +1.9 to +2.7). The strongest of 6 attacks"
    )
    assert "50 % is guessing); for undefended it is 95.4 % (95.0–95.8)." in others[-1]
    assert others[-1].endswith("while accusing 1 % of non-members; for undefended it is 98.2 % (97.2–99.2).")
    results = example()
    results["against"] = None
    assert "PPTP: lower measured leakage, test accuracy 55.1 % against 52.8 % (+2.3 points)." in verdict(results)[-1]
    assert "(+0.3 points, within overlapping intervals)" in verdict(results)[2]


def best(results: dict[str, Any], entry: int, slice_name: str = "population") -> dict[str, Any]:
    attack: dict[str, Any] = results["entries"][entry]["slices"][slice_name]["attacks"]["lira"]
    return attack


def unpaired() -> dict[str, Any]:
    """Two entries that were not compared in pairs."""
    return {**example(2), "against": []}


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.02, -0.001, "lower measured leakage"),
        (0.001, 0.02, "higher measured leakage"),
        (-0.02, 0.0, "no difference in leakage that the intervals resolve"),
        (None, None, "no difference in leakage that the intervals resolve"),
    ],
)
def test_the_paired_interval_decides_what_is_called_lower(low: float | None, high: float | None, words: str) -> None:
    results = example(2)
    results["against"][0]["slices"]["population"]["auc"].update(low=low, high=high)
    assert verdict(results)[1].startswith(f"PPTP: {words} (")
    assert ("no interval" in verdict(results)[1]) is (low is None)


def test_overlapping_intervals_are_not_called_lower() -> None:
    results = unpaired()
    best(results, 1)["auc"].update(value=0.9500, low=0.9450, high=0.9505)
    assert "no difference in leakage that the intervals resolve" in verdict(results)[1]
    assert "lower" not in verdict(results)[1]


def test_a_defense_that_leaks_more_is_told_so() -> None:
    results = unpaired()
    best(results, 1)["auc"].update(value=0.99, low=0.985, high=0.995)
    assert "PPTP: higher measured leakage" in verdict(results)[1]


def test_without_an_interval_nothing_is_claimed() -> None:
    results = unpaired()
    best(results, 1)["auc"].update(low=None, high=None)
    assert "no difference in leakage that the intervals resolve" in verdict(results)[1]
    assert "(no interval, 78,400 members" in verdict(results)[1]


def test_an_interval_that_includes_guessing_is_said_to() -> None:
    results = example(1)
    best(results, 0)["auc"].update(value=0.501, low=0.497, high=0.505)
    assert "The interval includes guessing" in verdict(results)[0]


def test_a_refused_rate_gives_way_to_the_next_or_is_explained() -> None:
    results = example(1)
    rates = best(results, 0, "canaries")["tpr"]
    rates[1] = {"fpr": 0.01, "refused": "needs at least 1,000 non-members; there are 90."}
    assert "while accusing 10 % of non-members" in verdict(results)[0]
    rates[0] = {"fpr": 0.1, "refused": "needs at least 100 non-members; there are 90."}
    assert "no rate can be resolved: needs at least 100 non-members; there are 90." in verdict(results)[0]


def test_another_attack_may_be_strongest_on_canaries() -> None:
    """The rate that is quoted is the highest of all attacks at that false-positive rate, whatever their areas."""
    results = example(1)
    attacks = results["entries"][0]["slices"]["canaries"]["attacks"]
    for rate in attacks["midpoint"]["tpr"]:
        if rate["fpr"] == 0.01:
            rate["value"] = 0.995
    assert "canaries midpoint catches 99.5 %" in verdict(results)[0]


def test_one_attack_and_no_canaries() -> None:
    results = example(1)
    part = results["entries"][0]["slices"].pop("canaries") and results["entries"][0]["slices"]["population"]
    part["attacks"] = {"lira": part["attacks"]["lira"]}
    assert verdict(results)[0].startswith("The only attack run (LiRA) ranks")
    assert "canaries" not in verdict(results)[0]


def test_without_a_baseline_nothing_is_compared() -> None:
    results = {**example(2), "baseline": None}
    assert all("lower" not in sentence for sentence in verdict(results))


@pytest.mark.parametrize("count", [1, 5])
def test_no_release_is_called_private_or_safe(count: int) -> None:
    text = to_markdown(example(count)) + " ".join(limits(example(count)))
    assert not re.search(r"\b(private|safe|secure|anonymous)\b", text, flags=re.IGNORECASE)


def test_limits_know_the_run() -> None:
    results = example(1)
    assert "8 models played target. With fewer than 16" in " ".join(limits(results))
    assert "black-box" in " ".join(limits(results))
    assert "chose a plan of its own" not in " ".join(limits(results))
    assert "chose a plan of its own" in " ".join(limits(example(5)))
    results["task"].update(n_models=64, canaries=0)
    results["attacks"][0]["threat_model"] = "weights"
    text = " ".join(limits(results))
    assert "played target" not in text
    assert "No canaries were planted" in text
    assert "black-box" not in text
