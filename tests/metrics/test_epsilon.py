from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from membrane.core.errors import DataError, SettingError
from membrane.metrics import epsilon_bound


def textbook(scores: list[float], is_member: list[bool], thresholds: list[float], delta: float, level: float) -> float:
    """Counting by loops, intervals by scipy, each of the 2 K rates with its part of the error."""
    coverage = 1 - (1 - level) / (2 * len(thresholds))
    best = 0.0
    for cut in thresholds:
        rates = []
        for group in (True, False):
            of_group = [score for score, member in zip(scores, is_member, strict=True) if member == group]
            accused = sum(score >= cut for score in of_group)
            rates.append(binomtest(accused, len(of_group)).proportion_ci(coverage, method="exact"))
        (tpr_low, _), (_, fpr_high) = rates
        for above, below in ((tpr_low - delta, fpr_high), (1 - fpr_high - delta, 1 - tpr_low)):
            if above > 0:
                best = max(best, math.log(above / below))
    return best


@pytest.mark.parametrize("leak", [0.0, 1.0, 4.0, -2.0])
@pytest.mark.parametrize("delta", [0.0, 0.01, 0.5])
def test_bound_equals_the_textbook(leak: float, delta: float) -> None:
    generator = np.random.default_rng(0)
    is_member = generator.random(600) < 0.5
    scores = generator.normal(size=600) + leak * is_member
    for thresholds in ([0.5], [-1.0, 0.0, 1.0, 2.0, 50.0]):
        found = epsilon_bound(scores, is_member, thresholds, delta=delta, level=0.9)
        expected = textbook(scores.tolist(), is_member.tolist(), thresholds, delta, 0.9)
        assert found.low == pytest.approx(expected, abs=1e-9)
        assert (found.side == "neither") == math.isnan(found.threshold) == (found.low == 0)
        assert found.n_thresholds == len(thresholds)


def test_perfect_attack_by_hand() -> None:
    """1000 of 1000 against 0 of 1000, 1/80 in each tail: the ends are t = (1/80)^(1/1000) and 1 - t."""
    scores, is_member = np.repeat([1.0, 0.0], 1000), np.repeat([True, False], 1000)
    found, tail = epsilon_bound(scores, is_member, [0.5]), 0.0125 ** (1 / 1000)
    assert found.low == pytest.approx(math.log(tail / (1 - tail)))
    assert (found.threshold, found.tpr.value, found.fpr.value) == (0.5, 1.0, 0.0)


def test_either_side_is_found() -> None:
    """Few accusations, all right; or few acquittals, all right."""
    is_member = np.repeat([True, False], 500)
    few_accused = epsilon_bound(np.arange(1000) < 100, is_member, [1.0])
    few_cleared = epsilon_bound(np.arange(1000) < 900, is_member, [1.0])
    assert (few_accused.side, few_cleared.side) == ("members", "non-members")
    assert few_accused.low == pytest.approx(few_cleared.low)
    assert few_accused.low > 2


def test_audits_of_nothing_seldom_find_something() -> None:
    """Two thousand, each the best of five thresholds and two sides."""
    generator = np.random.default_rng(1)
    above = 0
    for _ in range(2000):
        is_member, scores = generator.random(100) < 0.5, generator.normal(size=100)
        above += epsilon_bound(scores, is_member, [-1.0, -0.5, 0.0, 0.5, 1.0]).low > 0
    assert above <= 100


def test_randomized_response_is_bounded_by_its_epsilon_and_nearly_reached() -> None:
    generator = np.random.default_rng(2)
    bounds = []
    for _ in range(200):
        is_member = generator.random(5000) < 0.5
        answers = is_member == (generator.random(5000) < expit(1.0))
        bounds.append(epsilon_bound(answers, is_member, [1.0]).low)
    assert np.mean(np.array(bounds) > 1.0) <= 0.05
    assert np.median(bounds) > 0.8


def test_thresholds_share_the_error() -> None:
    """More of them at the same place prove less."""
    is_member = np.repeat([True, False], 500)
    scores = np.concatenate([np.arange(500) < 300, np.arange(500) < 50])
    bounds = [epsilon_bound(scores, is_member, [1.0] * k).low for k in (1, 10, 1000)]
    assert bounds[0] > bounds[1] > bounds[2] > 0


def test_nonsense_is_refused() -> None:
    scores, is_member = [1.0, 0.0], [True, False]
    for delta in (-0.1, 1.0, math.nan):
        with pytest.raises(SettingError, match="delta is"):
            epsilon_bound(scores, is_member, [0.5], delta=delta)
    with pytest.raises(SettingError, match="level is 0"):
        epsilon_bound(scores, is_member, [0.5], level=0.0)
    with pytest.raises(DataError, match="thresholds are empty"):
        epsilon_bound(scores, is_member, [])
    with pytest.raises(DataError, match="no non-members"):
        epsilon_bound(scores, [True, True], [0.5])
