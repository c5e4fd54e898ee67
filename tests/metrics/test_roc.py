from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from membrane.core.errors import DataError, MembraneError, NotEnoughDataError, SettingError
from membrane.metrics import auc, balanced_accuracy, clopper_pearson, roc, tpr_at_fpr

Scores = NDArray[np.float64]
Member = NDArray[np.bool_]


def pairwise_auc(scores: Scores, is_member: Member) -> float:
    difference = scores[is_member][:, None] - scores[~is_member][None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def slow_tpr(scores: Scores, is_member: Member, allowed: int) -> float:
    reached = [
        float(np.mean(scores[is_member] >= threshold))
        for threshold in scores
        if np.count_nonzero(scores[~is_member] >= threshold) <= allowed
    ]
    return max(reached, default=0.0)


def sample(n_distinct: int, shift: float, n: int = 600) -> tuple[Scores, Member]:
    generator = np.random.default_rng(n_distinct)
    is_member = generator.random(n) < 0.4
    ranks = generator.integers(n_distinct, size=n) + is_member * generator.integers(n_distinct // 3 + 2, size=n)
    return np.minimum(ranks, n_distinct - 1) * 1e-6 + shift, is_member


@st.composite
def small_trials(draw: st.DrawFn) -> tuple[Scores, Member]:
    n = draw(st.integers(2, 40))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(-6, 6))).astype(np.float64)
    is_member = draw(hnp.arrays(np.bool_, n))
    is_member[0], is_member[1] = True, False
    return scores, is_member


@pytest.mark.parametrize("shift", [0.0, 40.0, 1e8, -1e8])
@pytest.mark.parametrize("n_distinct", [2, 7, 1000])
def test_auc_equals_pairwise_count_and_sklearn(n_distinct: int, shift: float) -> None:
    scores, is_member = sample(n_distinct, shift)
    assert np.unique(scores).size > min(n_distinct, 6) - 1  # the shift has not eaten the differences
    expected = pairwise_auc(scores, is_member)
    assert expected > 0.5  # so that a flipped sign shows
    assert auc(scores, is_member) == pytest.approx(expected, abs=1e-12)
    assert auc(scores, is_member) == pytest.approx(roc_auc_score(is_member, scores), abs=1e-12)


def test_constant_scores_are_a_guess() -> None:
    is_member = np.arange(10) < 3
    assert auc(np.full(10, 1e8), is_member) == 0.5
    curve = roc(np.full(10, 1e8), is_member)
    np.testing.assert_array_equal(curve.fpr, [0, 1])
    np.testing.assert_array_equal(curve.tpr, [0, 1])


@pytest.mark.parametrize("n_distinct", [2, 7, 1000])
def test_roc_equals_sklearn_without_dropping(n_distinct: int) -> None:
    scores, is_member = sample(n_distinct, 1e8)
    fpr, tpr, thresholds = roc_curve(is_member, scores, drop_intermediate=False)
    curve = roc(scores, is_member)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert (curve.n_members, curve.n_non_members) == (is_member.sum(), (~is_member).sum())
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(auc(scores, is_member), abs=1e-12)


def test_roc_by_hand() -> None:
    curve = roc([5, 3, 3, 3, 1], [True, True, False, False, True])
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 5, 3, 1])
    np.testing.assert_allclose(curve.tpr, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.fpr, [0, 0, 1, 1])


@given(small_trials())
def test_monotone_change_of_scores_changes_nothing(trials: tuple[Scores, Member]) -> None:
    scores, is_member = trials
    for changed in (np.exp(scores), 1e6 * scores - 3, scores**3):
        assert auc(changed, is_member) == auc(scores, is_member)
        np.testing.assert_array_equal(roc(changed, is_member).tpr, roc(scores, is_member).tpr)


@given(small_trials())
def test_swapped_classes_mirror_the_auc(trials: tuple[Scores, Member]) -> None:
    scores, is_member = trials
    assert auc(scores, ~is_member) == pytest.approx(1 - auc(scores, is_member), abs=1e-12)
    assert auc(-scores, is_member) == pytest.approx(1 - auc(scores, is_member), abs=1e-12)


@given(small_trials(), st.integers(0, 2**32 - 1))
def test_order_of_trials_does_not_matter(trials: tuple[Scores, Member], seed: int) -> None:
    scores, is_member = trials
    order = np.random.default_rng(seed).permutation(scores.size)
    assert auc(scores[order], is_member[order]) == auc(scores, is_member)
    shuffled, original = roc(scores[order], is_member[order]), roc(scores, is_member)
    np.testing.assert_array_equal(shuffled.tpr, original.tpr)
    np.testing.assert_array_equal(shuffled.fpr, original.fpr)


@given(small_trials(), st.integers(1, 40))
def test_tpr_equals_every_threshold_tried(trials: tuple[Scores, Member], allowed: int) -> None:
    scores, is_member = trials
    n_non_members = int((~is_member).sum())
    allowed = min(allowed, n_non_members)
    rate = tpr_at_fpr(scores, is_member, allowed / n_non_members, min_false_positives=1)
    assert rate.value == pytest.approx(slow_tpr(scores, is_member, allowed))
    assert rate.n == is_member.sum()


def test_tpr_takes_the_last_reachable_point_and_never_splits_a_tie() -> None:
    scores = [9, 8, 7, 7, 7, 6]
    is_member = [True, False, True, True, False, False]
    # 1 of 3 non-members may be accused: the tied group at 7 would accuse a second one.
    rate = tpr_at_fpr(scores, is_member, 0.5, min_false_positives=1)
    assert rate == clopper_pearson(1, 3)
    assert tpr_at_fpr(scores, is_member, 2 / 3, min_false_positives=1).successes == 3


def falling(n_non_members: int) -> tuple[Scores, Member]:
    """Scores where k accused non-members catch exactly k members."""
    ranks = np.arange(n_non_members, dtype=np.float64)
    return np.concatenate([ranks - 0.5, ranks]), np.repeat([True, False], n_non_members)


@pytest.mark.parametrize(
    ("fpr", "least", "needed"),
    [(0.001, 10, 10000), (0.01, 10, 1000), (0.1, 10, 100), (0.07, 7, 100), (0.29, 29, 100), (0.35, 21, 60)],
)
def test_tpr_is_given_at_the_smallest_sample_and_refused_one_below(fpr: float, least: int, needed: int) -> None:
    rate = tpr_at_fpr(*falling(needed), fpr, min_false_positives=least)
    assert rate.successes == least  # float dust in fpr * n takes no false positive away
    with pytest.raises(NotEnoughDataError, match=rf"needs at least {needed} non-members; there are {needed - 1}\."):
        tpr_at_fpr(*falling(needed - 1), fpr, min_false_positives=least)


def test_refusal_says_what_to_ask_instead() -> None:
    with pytest.raises(NotEnoughDataError) as refused:
        tpr_at_fpr(*falling(412), 0.001)
    assert str(refused.value) == (
        "TPR at 0.100% FPR needs at least 10000 non-members; there are 412. Ask at 2.428% or more, or add non-members."
    )
    assert tpr_at_fpr(*falling(412), 0.02428).successes == 10  # the printed rate works
    with pytest.raises(NotEnoughDataError, match=r"there are 9\. No FPR can be had from fewer than 10"):
        tpr_at_fpr(*falling(9), 1.0)


@pytest.mark.parametrize("fpr", [0.0, -0.1, 1.01, 5.0, math.nan])
def test_nonsense_rates_are_refused(fpr: float) -> None:
    with pytest.raises(SettingError, match="a fraction"):
        tpr_at_fpr(*falling(100), fpr)
    with pytest.raises(SettingError, match="min_false_positives"):
        tpr_at_fpr(*falling(100), 0.5, min_false_positives=0)


def test_balanced_accuracy_of_the_best_threshold() -> None:
    scores, is_member = sample(7, 0.0)
    slow = max(
        (np.mean(scores[is_member] >= t) + np.mean(scores[~is_member] < t)) / 2 for t in np.append(scores, np.inf)
    )
    assert balanced_accuracy(scores, is_member) == pytest.approx(slow)
    assert slow > 0.5
    assert balanced_accuracy(np.zeros(4), [True, True, False, False]) == 0.5
    assert balanced_accuracy([2.0, 1.0], [True, False]) == 1.0
    assert balanced_accuracy([1.0, 2.0], [True, False]) == 0.5  # accusing nobody is as good as it gets


@pytest.mark.parametrize(
    ("scores", "is_member", "says"),
    [
        ([[1.0], [2.0]], [True, False], "1 axes are expected"),
        ([1.0, 2.0, 3.0], [True, False], r"shape \(3,\), is_member \(2,\)"),
        ([1.0, np.nan], [True, False], "1 of 2 scores are NaN or infinite"),
        ([1.0, np.inf], [True, False], "NaN or infinite"),
        ([1.0, 2.0], [1, 0], "it must be bool"),
        ([1.0, 2.0], [True, True], "no non-members"),
        ([1.0, 2.0], [False, False], "no members"),
        (["a", "b"], [True, False], "real numbers"),
        ([1j, 2j], [True, False], "real numbers"),
        ([], [], "empty|bool"),
    ],
)
def test_bad_input_is_refused(scores: ArrayLike, is_member: ArrayLike, says: str) -> None:
    for metric in (auc, roc, balanced_accuracy):
        with pytest.raises(DataError, match=says):
            metric(scores, is_member)
    with pytest.raises(MembraneError, match=says):
        tpr_at_fpr(scores, is_member, 0.5)
