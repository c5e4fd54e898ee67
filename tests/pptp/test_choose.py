from __future__ import annotations

import functools

import numpy as np
import pytest

from membrane.core import SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.pptp import Budget, Plan, Probe, Search, mix_response
from membrane.pptp.choose import CONFIRMATIONS, N_ENDS, _evenly, _spaced
from membrane.pptp.locators.mix_response import contiguous
from tests.small import probe, trained


@functools.cache
def search(max_candidates: int = 40) -> Search:
    one = probe()
    _, measured = mix_response(one, numpy_generator(0))
    found = Search(one, measured, max_candidates)
    found.run()
    return found


@pytest.mark.slow
def test_the_count_of_candidates_is_kept() -> None:
    located = 1 + len(contiguous(search().probe.partition.names))
    assert located < len(search().measured) <= located + 40


def test_a_choice_lowers_leakage_within_the_budget() -> None:
    found = search()
    choice = found.choose(Budget(0.02), numpy_generator(0))
    base = found.probe.unedited
    assert choice.applied
    assert choice.leakage_after < choice.leakage_before == base.leakage
    assert found.measured[choice.plan].accuracy >= base.accuracy - 0.02
    assert choice.accuracy_change.value >= -0.02
    assert choice.accuracy_change.low <= choice.accuracy_change.value <= choice.accuracy_change.high


def test_a_larger_budget_never_leaks_more_on_the_search() -> None:
    found = search()
    feasible = [found.choose(Budget(drop), numpy_generator(0)) for drop in (0.0, 0.02, 0.05, 0.2)]
    leaks = [choice.leakage_after for choice in feasible]
    assert leaks == sorted(leaks, reverse=True)


def test_nothing_feasible_leaves_the_model_unchanged() -> None:
    choice = search().choose(Budget(-0.9), numpy_generator(0))
    assert not choice.applied
    assert choice.plan == Plan()
    assert "unchanged" in choice.reason


def test_the_frontier_is_not_beaten_by_anything_measured() -> None:
    found = search()
    points = found.measured
    for plan in found.frontier():
        better = [
            p
            for p in points
            if points[p].leakage <= points[plan].leakage and points[p].accuracy > points[plan].accuracy
        ]
        assert not better


def test_the_search_never_looks_at_the_confirming_half() -> None:
    one = trained()
    blind = Probe(one.model, one.trail, one.members, one.holdout, torch_generator(0, "probe"))
    blind.confirm = blind.confirm.relabelled((blind.confirm.y + 1) % 10)
    _, measured = mix_response(blind, numpy_generator(0))
    found = Search(blind, measured, 40)
    found.run()
    same = search().measured
    assert found.measured.keys() == same.keys()
    assert all(found.measured[plan].leakage == same[plan].leakage for plan in same)


def test_spaced_epochs_keep_both_ends_and_the_number() -> None:
    assert _spaced(list(range(1, 13))) == sorted(set(_spaced(list(range(1, 13)))))
    assert len(_spaced(list(range(1, 200)))) <= N_ENDS
    assert {1, 199} <= set(_spaced(list(range(1, 200))))


def test_plans_that_luck_made_feasible_give_way_to_more_careful_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The confirming half is shown the frontier; the first plan that holds there is taken, not the unedited model."""
    found, budget = search(), Budget(0.05)
    floor = found.probe.unedited.accuracy - budget.max_accuracy_drop
    frontier = [plan for plan in found.frontier() if plan.stretches and found.measured[plan].accuracy >= floor]
    shown = _evenly(frontier, CONFIRMATIONS)
    assert len(shown) >= 3
    before = found.probe.confirm_correct(None)
    answers = iter(
        [before, np.zeros_like(before), np.zeros_like(before), before]
    )  # unedited, two unlucky, one that holds
    monkeypatch.setattr(found.probe, "confirm_correct", lambda state: next(answers))
    choice = found.choose(budget, numpy_generator(0))
    assert choice.plan == shown[2]
    assert f"try 3 of at most {len(shown)}" in choice.reason


def test_evenly_keeps_the_first_and_the_last() -> None:
    plans = [Plan.same(("a",), 0, last) for last in range(30)]
    assert _evenly(plans[:5], 8) == plans[:5]
    assert len(_evenly(plans, 8)) == 8
    assert [_evenly(plans, 8)[i] for i in (0, -1)] == [plans[0], plans[-1]]


@pytest.mark.parametrize("drop", [2.0, -2.0, float("nan")])
def test_budgets_are_fractions(drop: float) -> None:
    with pytest.raises(SettingError, match="fraction"):
        Budget(drop)


def test_confirmation_is_paired() -> None:
    """The interval of a plan that flips no prediction has no width."""
    found = search()
    before = found.probe.confirm_correct(None)
    assert np.array_equal(before, found.probe.confirm_correct(None))
