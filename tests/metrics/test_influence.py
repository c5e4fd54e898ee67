from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import (
    Estimate,
    auc,
    auc_estimate,
    clopper_pearson,
    difference_interval,
    mean_estimate,
    p_value_above,
    share_interval,
    tpr_at_fpr,
    tpr_estimate,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def lineup(n_models: int, n: int, leak: float, generator: np.random.Generator) -> tuple[Floats, Bools]:
    """Scores in which examples differ, and membership in complementary pairs of random halves."""
    first = np.argsort(generator.random((n_models // 2, n)), axis=1) < n // 2
    member = np.stack([first, ~first], axis=1).reshape(n_models, n)
    return generator.normal(size=(1, n)) + generator.normal(size=member.shape) + leak * member, member


@pytest.mark.parametrize("n_distinct", [2, 7, 10**6])
@pytest.mark.parametrize("mask", [None, np.arange(60) % 3 > 0])
def test_values_are_those_of_the_metrics(n_distinct: int, mask: Bools | None) -> None:
    generator = np.random.default_rng(0)
    _, member = lineup(6, 60, 0.0, generator)
    scores = generator.integers(n_distinct, size=member.shape) + 0.3 * member
    part = np.ones(60, dtype=bool) if mask is None else mask
    flat = scores[:, part].ravel(), member[:, part].ravel()
    area = auc_estimate(scores, member, mask)
    assert area.value == auc(*flat)
    assert (area.influence.shape, area.n_examples) == (scores.shape, int(part.sum()))
    assert area.influence.sum() == pytest.approx(0, abs=1e-12)
    assert not area.influence[:, ~part].any()
    for fpr in (0.1, 0.5, 1.0):
        rate = tpr_estimate(scores, member, fpr, mask)
        assert rate.value == tpr_at_fpr(*flat, fpr).value
        assert rate.influence.sum() == pytest.approx(0, abs=1e-12)


def test_the_influence_on_an_area_is_what_a_jackknife_finds() -> None:
    scores, member = lineup(4, 80, 1.0, np.random.default_rng(1))
    found, flat, is_member = auc_estimate(scores, member), scores.ravel(), member.ravel()
    for trial in range(0, 320, 13):
        kept = np.arange(320) != trial
        left_out = auc(flat[kept], is_member[kept])
        n_own = int(is_member.sum()) if is_member[trial] else int((~is_member).sum())
        assert found.influence.ravel()[trial] == pytest.approx(
            (found.value - left_out) * (n_own - 1) / n_own, abs=1e-12
        )


def test_the_error_of_a_rate_holds_its_threshold_too() -> None:
    """Two normals: the error of a rate whose threshold comes from as many non-members has a formula."""
    generator = np.random.default_rng(2)
    member = np.arange(100_000)[None] % 2 == 0
    scores = generator.normal(size=member.shape) + member
    for fpr in (0.1, 0.01):
        rate, slope = norm.cdf(1 + norm.ppf(fpr)), norm.pdf(1 + norm.ppf(fpr)) / norm.pdf(norm.ppf(fpr))
        expected = math.sqrt((rate * (1 - rate) + slope**2 * fpr * (1 - fpr)) / 50_000)
        found = tpr_estimate(scores, member, fpr)
        assert found.spread(1).error == pytest.approx(expected, rel=0.1)
        assert found.value == pytest.approx(rate, abs=4 * expected)


def test_variance_is_that_of_pairs_and_examples_less_what_both_counted() -> None:
    influence = np.random.default_rng(3).normal(size=(6, 5)) / 30
    found = Estimate(0.5, influence, 5).spread()
    cells = [[influence[2 * k, i] + influence[2 * k + 1, i] for i in range(5)] for k in range(3)]
    pairs = sum(sum(row) ** 2 for row in cells) * 3 / 2
    examples = sum(sum(row[i] for row in cells) ** 2 for i in range(5)) * 5 / 4
    both = sum(cell**2 for row in cells for cell in row)
    variance = max(pairs + examples - both, min(pairs, examples))
    assert found.error == pytest.approx(math.sqrt(variance))
    assert found.freedom == pytest.approx(2 * max(variance / pairs, 1) ** 2)
    assert found.n_clusters == 3
    alone = Estimate(0.5, influence[:1], 5).spread(1)
    assert alone.error == pytest.approx(math.sqrt(float(np.square(influence[0]).sum()) * 5 / 4))
    assert math.isinf(alone.freedom)


def test_ends_are_clopper_pearsons_where_trials_are_independent() -> None:
    values = (np.arange(400) < 12).astype(np.float64)[None]
    found, exact = share_interval(mean_estimate(values), 400, models_per_cluster=1), clopper_pearson(12, 400)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=0.01)
    for value, ends in ((0.0, (0.0, clopper_pearson(0, 400).high)), (1.0, (clopper_pearson(400, 400).low, 1.0))):
        none = share_interval(mean_estimate(np.full((8, 400), value)), 3200)
        assert (none.low, none.high) == pytest.approx(ends)  # nothing varies: as many trials as examples


@pytest.mark.parametrize("n_models", [8, 16])
@pytest.mark.parametrize("leak", [0.0, 1.0])
def test_intervals_cover_what_they_say(n_models: int, leak: float) -> None:
    generator, runs, hits, rates = np.random.default_rng(4), 250, 0, 0
    truth = float(norm.cdf(leak / 2))
    caught = float(norm.cdf(leak / 2**0.5 + norm.ppf(0.05)))
    for _ in range(runs):
        scores, member = lineup(n_models, 120, leak, generator)
        hits += not share_interval(auc_estimate(scores, member)).excludes(truth)
        rate = tpr_estimate(scores, member, 0.05)
        rates += not share_interval(rate, int(member.sum())).excludes(caught)
    assert 0.91 <= hits / runs <= 0.985  # within three standard errors of .95
    assert 0.91 <= rates / runs <= 0.99


def test_differences_share_what_is_common_and_p_values_are_uniform() -> None:
    generator, below, errors = np.random.default_rng(5), 0, []
    for _ in range(300):
        scores, member = lineup(16, 60, 0.5, generator)
        noise = 0.3 * generator.normal(size=(2, *scores.shape))
        one, other = (auc_estimate(scores + more, member) for more in noise)
        difference = one - other
        assert difference.value == one.value - other.value
        errors.append((difference.spread().error, one.spread().error))
        below += p_value_above(difference) <= 0.1
    assert below / 300 == pytest.approx(0.1, abs=0.052)
    assert np.mean(errors, axis=0)[0] < 0.8 * np.mean(errors, axis=0)[1]
    nothing = one - one
    assert (p_value_above(nothing), difference_interval(nothing).low, difference_interval(nothing).high) == (1, 0, 0)


def test_few_pairs_are_said_and_make_intervals_long() -> None:
    generator = np.random.default_rng(6)
    few = share_interval(auc_estimate(*lineup(4, 200, 0.5, generator)))
    many = share_interval(auc_estimate(*lineup(16, 200, 0.5, generator)))
    assert few.note == "few pairs of models: 2 < 4"
    assert many.note == ""
    assert few.high - few.low > 2 * (many.high - many.low)


def test_nonsense_is_refused() -> None:
    scores, member = lineup(4, 40, 0.0, np.random.default_rng(7))
    with pytest.raises(DataError, match="do not share them"):
        auc_estimate(scores, member) - auc_estimate(scores[:2], member[:2])
    with pytest.raises(SettingError, match="divide the 4 models"):
        auc_estimate(scores, member).spread(3)
    with pytest.raises(DataError, match="mask covers 3"):
        auc_estimate(scores, member, np.ones(3, dtype=bool))
    with pytest.raises(NotEnoughDataError, match="needs at least 1000"):
        tpr_estimate(scores, member, 0.01)
    with pytest.raises(DataError, match="between 0 and 1"):
        share_interval(mean_estimate(2 * np.ones((2, 3))))
    with pytest.raises(SettingError, match="level"):
        difference_interval(auc_estimate(scores, member), level=95)
