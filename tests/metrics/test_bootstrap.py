from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import (
    Resamples,
    auc,
    auc_replicates,
    mean_replicates,
    percentile_interval,
    resample,
    tpr_at_fpr,
    tpr_replicates,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def pairs(n_models: int, n_examples: int, generator: np.random.Generator) -> Bools:
    """Membership in complementary pairs of models."""
    half = generator.random((n_models // 2, n_examples)) < 0.5
    return np.stack([half, ~half], axis=1).reshape(n_models, n_examples)


def bank(n_distinct: int = 9, n_models: int = 6, n_examples: int = 30) -> tuple[Floats, Bools]:
    generator = np.random.default_rng(1)
    is_member = pairs(n_models, n_examples, generator)
    scores = generator.integers(n_distinct, size=is_member.shape) + 2 * is_member
    return scores.astype(np.float64), is_member


def physical(scores: Floats, is_member: Bools, resamples: Resamples, index: int) -> tuple[Floats, Bools]:
    """The trials of one resample, copied out as often as they were drawn."""
    rows = np.repeat(np.arange(resamples.n_models), resamples.model_counts[index])
    columns = np.repeat(np.arange(resamples.n_examples), resamples.example_counts[index])
    return scores[np.ix_(rows, columns)].ravel(), is_member[np.ix_(rows, columns)].ravel()


@pytest.mark.parametrize("n_distinct", [2, 7, 10**6])
@pytest.mark.parametrize(("models", "examples"), [(True, True), (True, False), (False, True)])
def test_replicates_equal_the_trials_copied_out(n_distinct: int, models: bool, examples: bool) -> None:
    scores, is_member = bank(n_distinct)
    resamples = resample(6, 30, 20, np.random.default_rng(2), models=models, examples=examples)
    aucs = auc_replicates(scores, is_member, resamples)
    tprs = tpr_replicates(scores, is_member, 0.15, resamples)
    means = mean_replicates(scores, resamples)
    assert np.unique(means).size > 15  # the draws differ
    for index in range(20):
        drawn, member = physical(scores, is_member, resamples, index)
        assert aucs[index] == auc(drawn, member)
        assert tprs[index] == tpr_at_fpr(drawn, member, 0.15, min_false_positives=1).value
        assert means[index] == pytest.approx(drawn.mean())


def test_undrawn_resample_gives_the_point_estimates() -> None:
    scores, is_member = bank()
    same = resample(6, 30, 3, np.random.default_rng(0), models=False, examples=False)
    assert set(auc_replicates(scores, is_member, same)) == {auc(scores.ravel(), is_member.ravel())}
    rate = tpr_at_fpr(scores.ravel(), is_member.ravel(), 0.2)
    assert set(tpr_replicates(scores, is_member, 0.2, same)) == {rate.value}


def test_draws_are_counts_with_replacement() -> None:
    resamples = resample(8, 50, 400, np.random.default_rng(3))
    for counts, size in ((resamples.model_counts, 8), (resamples.example_counts, 50)):
        assert counts.shape == (400, size)
        assert set(counts.sum(axis=1)) == {size}
        # Each is left out with chance (1 - 1/n)^n; 400 resamples see it within five standard errors.
        assert np.mean(counts == 0) == pytest.approx((1 - 1 / size) ** size, abs=0.04)
        assert abs(counts.mean(axis=0) - 1).max() < 5 / 400**0.5
    again = resample(8, 50, 400, np.random.default_rng(3))
    np.testing.assert_array_equal(again.example_counts, resamples.example_counts)


def test_pairs_drawn_as_one_keep_every_example_balanced() -> None:
    scores, is_member = bank()
    resamples = resample(6, 30, 20, np.random.default_rng(4), models_per_draw=2)
    np.testing.assert_array_equal(resamples.model_counts[:, ::2], resamples.model_counts[:, 1::2])
    assert set(resamples.model_counts.sum(axis=1)) == {6}
    # What depends on the example alone then tells nothing in any resample; drawn singly it does.
    difficulty = np.broadcast_to(scores[0], scores.shape)
    assert set(auc_replicates(difficulty, is_member, resamples)) == {0.5}
    assert auc_replicates(difficulty, is_member, resample(6, 30, 20, np.random.default_rng(4))).std() > 0


def test_shared_resamples_make_differences_paired() -> None:
    scores, is_member = bank(10**6)
    resamples = resample(6, 30, 50, np.random.default_rng(5))
    one = auc_replicates(scores, is_member, resamples)
    np.testing.assert_array_equal(auc_replicates(3 * scores + 1, is_member, resamples), one)
    assert one.std() > 0.01


def test_slices_keep_their_draws_and_other_examples_get_new_ones() -> None:
    scores, is_member = bank()
    mask = np.arange(30) % 3 == 0
    whole = resample(6, 30, 10, np.random.default_rng(6))
    part = whole.for_slice(mask)
    np.testing.assert_array_equal(part.example_counts, whole.example_counts[:, mask])
    got = auc_replicates(scores[:, mask], is_member[:, mask], part)
    drawn, member = physical(scores[:, mask], is_member[:, mask], part, 4)
    assert got[4] == auc(drawn, member)
    test = whole.for_examples(7, np.random.default_rng(7))
    np.testing.assert_array_equal(test.model_counts, whole.model_counts)
    assert test.example_counts.shape == (10, 7)
    assert mean_replicates(np.ones((6, 7)), test) == pytest.approx(1)
    with pytest.raises(DataError, match="mask covers 3 examples"):
        whole.for_slice([True, False, True])


def test_means_per_model_use_the_draws_of_models_alone() -> None:
    resamples = Resamples(np.array([[2, 0], [1, 1]]), np.array([[1, 2, 0], [1, 1, 1]]))
    np.testing.assert_allclose(mean_replicates([0.2, 0.6], resamples), [0.2, 0.4])
    np.testing.assert_allclose(mean_replicates([[3, 6, 9], [0, 0, 0]], resamples), [5, 3])


def test_vanished_class_gives_nan_and_is_counted() -> None:
    scores = np.arange(20.0).reshape(2, 10)
    is_member = np.repeat([[True], [False]], 10, axis=1)
    resamples = Resamples(np.array([[2, 0], [1, 1], [0, 2], [1, 1]]), np.ones((4, 10), dtype=int))
    for replicates in (
        auc_replicates(scores, is_member, resamples),
        tpr_replicates(scores, is_member, 1.0, resamples),
    ):
        np.testing.assert_array_equal(np.isnan(replicates), [True, False, True, False])
        interval = percentile_interval(0.0, replicates, 0.95, 2)
        assert interval.note == "too few models to cluster: 2 < 16; 2 of 4 resamples had no value and were dropped"
        assert np.isfinite([interval.low, interval.high]).all()
    with pytest.raises(NotEnoughDataError, match="1 of 3 resamples have a value"):
        percentile_interval(0.0, [np.nan, 0.5, np.nan], 0.95, 20)


def test_percentiles_round_outward_and_note_few_models() -> None:
    replicates = np.random.default_rng(8).permutation(np.arange(500.0))
    interval = percentile_interval(250.0, replicates, 0.95, 16)
    assert (interval.value, interval.low, interval.high) == (250, 12, 487)  # 12.475 and 486.525 rounded outward
    assert (interval.n_clusters, interval.note) == (16, "")
    assert percentile_interval(250.0, replicates, 0.95, 15).note == "too few models to cluster: 15 < 16"
    wide, narrow = (percentile_interval(0.0, replicates, level, 16) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    with pytest.raises(SettingError, match="level"):
        percentile_interval(0.0, replicates, 95, 16)
    with pytest.raises(DataError, match="one axis"):
        percentile_interval(0.0, replicates[None], 0.95, 16)


def test_tpr_replicates_refuse_where_the_point_estimate_does() -> None:
    scores, is_member = bank()
    resamples = resample(6, 30, 5, np.random.default_rng(9))
    n_non_members = int((~is_member).sum())
    assert np.isfinite(tpr_replicates(scores, is_member, 10 / n_non_members, resamples)).all()
    with pytest.raises(NotEnoughDataError, match="needs at least"):
        tpr_replicates(scores, is_member, 9.99 / n_non_members, resamples)


def test_bad_input_is_refused() -> None:
    scores, is_member = bank()
    generator = np.random.default_rng(10)
    resamples = resample(6, 29, 5, generator)
    with pytest.raises(DataError, match="6 models x 30 examples; the resamples 6 x 29"):
        auc_replicates(scores, is_member, resamples)
    with pytest.raises(DataError, match="6 models x 30 examples; the resamples 6 x 29"):
        mean_replicates(scores, resamples)
    with pytest.raises(DataError, match="2 axes are expected"):
        auc_replicates(scores.ravel(), is_member.ravel(), resamples)
    with pytest.raises(DataError, match="NaN"):
        mean_replicates([np.nan] * 6, resamples)
    with pytest.raises(SettingError, match="n_resamples is 0"):
        resample(6, 30, 0, generator)
    with pytest.raises(SettingError, match="divide the 5 models"):
        resample(5, 30, 10, generator, models_per_draw=2)
    with pytest.raises(DataError, match=r"\(B, R\) and \(B, N\)"):
        Resamples(np.ones((3, 2), int), np.ones((4, 2), int))


def covered(models: bool, n_runs: int = 200) -> float:
    """How often the 95 % interval of a mean with model, example and trial effects covers the truth, 0."""
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(n_runs):
        values = 2 * generator.normal(size=(20, 1)) + generator.normal(size=(1, 60)) + generator.normal(size=(20, 60))
        replicates = mean_replicates(values, resample(20, 60, 200, generator, models=models))
        hits += not percentile_interval(values.mean(), replicates, 0.95, 20).excludes(0)
    return hits / n_runs


def test_two_way_bootstrap_covers_and_one_way_does_not() -> None:
    assert 0.88 <= covered(models=True) <= 0.99
    assert covered(models=False) < 0.6  # forgetting that trials share a model


def test_auc_interval_covers_the_true_auc() -> None:
    generator = np.random.default_rng(12)
    truth, hits = float(norm.cdf(1 / 2**0.5)), 0
    for _ in range(100):
        is_member = pairs(16, 40, generator)
        scores = generator.normal(size=is_member.shape) + is_member
        replicates = auc_replicates(scores, is_member, resample(16, 40, 100, generator))
        interval = percentile_interval(auc(scores.ravel(), is_member.ravel()), replicates, 0.95, 16)
        hits += not interval.excludes(truth)
        assert interval.high - interval.low < 0.2
    assert hits >= 90


@pytest.mark.parametrize("n_models", [16, 32])
def test_auc_interval_covers_one_half_where_membership_is_shuffled(n_models: int) -> None:
    """At least as often as it says, in truth nearly always: it counts the noise of single trials once with the models,
    once with the examples and once by itself (Owen 2007), so where noise is all there is it is up to 3^0.5 too long.
    """
    generator, hits = np.random.default_rng(13), 0
    for _ in range(100):
        is_member = pairs(n_models, 40, generator)
        scores = generator.normal(size=(n_models, 1)) + generator.normal(size=(1, 40))
        scores = scores + generator.normal(size=is_member.shape)
        replicates = auc_replicates(scores, is_member, resample(n_models, 40, 200, generator, models_per_draw=2))
        interval = percentile_interval(auc(scores.ravel(), is_member.ravel()), replicates, 0.95, n_models // 2)
        hits += not interval.excludes(0.5)
        assert interval.high - interval.low < 0.2
    assert hits >= 95
