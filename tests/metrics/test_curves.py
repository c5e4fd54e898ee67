from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from membrane.core.errors import DataError
from membrane.metrics import (
    CurvePoint,
    accuracy_at,
    leakage_at,
    matched_accuracy_difference,
    matched_difference,
    point_at,
)

Pairs = Sequence[tuple[float, float]]

# (accuracy, leakage); (.55, .75) and (.60, .90) are beaten by (.60, .70).
HAND: Pairs = [(0.70, 0.90), (0.55, 0.75), (0.50, 0.60), (0.60, 0.70), (0.60, 0.90)]


def curve(pairs: Pairs, shifts: Sequence[tuple[float, float]] = ()) -> list[CurvePoint]:
    """Points whose replicates are the point moved by each shift in accuracy and leakage."""
    moved = np.array(shifts, dtype=np.float64).reshape(-1, 2)
    return [CurvePoint(f"p{i}", float(i), a, e, a + moved[:, 0], e + moved[:, 1]) for i, (a, e) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("accuracy", "leakage"),
    [(0.40, 0.60), (0.50, 0.60), (0.55, 0.65), (0.60, 0.70), (0.65, 0.80), (0.70, 0.90)],
)
def test_leakage_at_by_hand(accuracy: float, leakage: float) -> None:
    assert leakage_at(curve(HAND), accuracy) == pytest.approx(leakage)
    assert leakage_at(curve(HAND[::-1]), accuracy) == pytest.approx(leakage)


@pytest.mark.parametrize(
    ("leakage", "accuracy"), [(0.60, 0.50), (0.65, 0.55), (0.70, 0.60), (0.80, 0.65), (0.90, 0.70), (0.99, 0.70)]
)
def test_accuracy_at_by_hand(leakage: float, accuracy: float) -> None:
    assert accuracy_at(curve(HAND), leakage) == pytest.approx(accuracy)


def test_unreached_places_have_no_value() -> None:
    assert math.isnan(leakage_at(curve(HAND), 0.701))
    assert math.isnan(accuracy_at(curve(HAND), 0.599))
    assert leakage_at(curve([(0.5, 0.6)]), 0.5) == 0.6
    with pytest.raises(DataError, match="no points"):
        leakage_at([], 0.5)


grid = st.integers(0, 12).map(lambda k: k / 12)


@given(st.lists(st.tuples(grid, grid), min_size=1, max_size=8), grid)
def test_frontier_is_never_above_a_point_and_rises(pairs: Pairs, accuracy: float) -> None:
    points = curve(pairs)
    reached = [leak for a, leak in pairs if a >= accuracy]
    got = leakage_at(points, accuracy)
    if not reached:
        assert math.isnan(got)
        return
    assert got <= min(reached) + 1e-12
    assert got >= min(leak for _, leak in pairs) - 1e-12
    assert leakage_at(points, max(a for a, _ in pairs)) >= got - 1e-12
    beaten = [leak for a, leak in pairs if a > accuracy]
    if min(reached) < min(beaten, default=math.inf):  # a point of the frontier lies exactly here
        assert got == pytest.approx(min(reached))
    assert accuracy_at(points, got + 1e-9) >= accuracy - 1e-12


def test_difference_at_equal_accuracy() -> None:
    shifts = [(0.0, 0.001 * k) for k in range(-50, 51)]
    ours, theirs = curve([(0.5, 0.6), (0.7, 0.8)], shifts), curve([(0.5, 0.65), (0.7, 0.95)], shifts)
    interval = matched_difference(ours, theirs, 0.6, n_models=16)
    assert interval.value == pytest.approx(0.1)
    # The shifts are shared, so they cancel; unpaired they would spread by 0.1.
    assert [interval.low, interval.high] == pytest.approx([0.1, 0.1])
    assert interval.excludes(0)
    assert (interval.n_clusters, interval.note) == (16, "")
    assert matched_difference(theirs, ours, 0.6, n_models=16).value == pytest.approx(-0.1)


def test_difference_at_equal_leakage() -> None:
    shifts = [(0.001 * k, 0.0) for k in range(-50, 51)]
    ours, theirs = curve([(0.5, 0.6), (0.7, 0.8)], shifts), curve([(0.4, 0.6), (0.6, 0.8)], shifts)
    interval = matched_accuracy_difference(ours, theirs, 0.7, n_models=16)
    assert interval.value == pytest.approx(0.1)
    assert [interval.low, interval.high] == pytest.approx([0.1, 0.1])
    assert matched_accuracy_difference(theirs, ours, 0.7, n_models=16).value == pytest.approx(-0.1)
    assert "too few models" in matched_accuracy_difference(ours, theirs, 0.7, n_models=8).note


def test_frontier_is_found_anew_in_each_resample() -> None:
    still = np.zeros(3)
    ours = [
        CurvePoint("a", 0, 0.5, 0.60, 0.5 + still, np.array([0.60, 0.80, 0.60])),
        CurvePoint("b", 1, 0.5, 0.70, 0.5 + still, np.array([0.70, 0.70, 0.50])),
    ]
    theirs = curve([(0.5, 0.9)], [(0.0, 0.0)] * 3)
    interval = matched_difference(ours, theirs, 0.5, n_models=20)
    # Least of the two points: .60, .70, .50. Following point a alone would give .30, .10, .30.
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.3, 0.2, 0.4))


def test_resamples_that_do_not_reach_open_the_interval() -> None:
    shifts = [(0.01, 0.0)] * 90 + [(-0.01, 0.0)] * 10
    steady, shaky = curve([(0.4, 0.5), (0.9, 0.9)], shifts), curve([(0.3, 0.4), (0.6, 0.6)], shifts)
    bad_for_us = matched_difference(shaky, steady, 0.6, n_models=16)
    assert bad_for_us.value == pytest.approx(0.06)
    assert bad_for_us.low == -math.inf
    assert math.isfinite(bad_for_us.high)
    assert bad_for_us.note == "ours does not reach accuracy 0.6 in 10 of 100 resamples"
    bad_for_them = matched_difference(steady, shaky, 0.6, n_models=16)
    assert bad_for_them.high == math.inf
    assert math.isfinite(bad_for_them.low)
    assert "theirs does not reach" in bad_for_them.note


def test_resamples_without_a_value_are_counted() -> None:
    ours, theirs = (curve([(0.5, leak)], [(0, 0), (0, 0), (0, math.nan)]) for leak in (0.6, 0.7))
    interval = matched_difference(ours, theirs, 0.5, n_models=16)
    assert interval.note == "1 of 3 resamples had no value and were dropped"
    ours, theirs = (curve([(0.5, leak)], [(0, math.nan)] * 3) for leak in (0.6, 0.7))
    interval = matched_difference(ours, theirs, 0.5, n_models=16)
    assert interval.value == pytest.approx(0.1)
    assert math.isnan(interval.low)
    assert "0 of 3 resamples have a value" in interval.note


def test_curves_apart_are_said_to_be() -> None:
    shifts = [(0.0, 0.0)] * 3
    low, high = curve([(0.3, 0.5), (0.4, 0.6)], shifts), curve([(0.6, 0.7), (0.8, 0.9)], shifts)
    unreached = matched_difference(low, high, 0.7, n_models=16)
    assert math.isnan(unreached.value)
    assert not unreached.excludes(0)
    assert "the curves do not overlap in accuracy: ours 0.3 to 0.4, theirs 0.6 to 0.8" in unreached.note
    assert "ours does not reach accuracy 0.7; its best is 0.4" in unreached.note
    stands_in = matched_difference(low, high, 0.35, n_models=16)
    assert stands_in.value == pytest.approx(0.7 - 0.55)
    assert "theirs stops at accuracy 0.6; that end stands in for 0.35" in stands_in.note
    assert "do not overlap" in stands_in.note
    assert "do not overlap" in matched_difference(high, low, 0.7, n_models=16).note
    by_leakage = matched_accuracy_difference(low, high, 0.65, n_models=16)
    assert math.isnan(by_leakage.value)
    assert "the curves do not overlap in leakage: ours 0.5 to 0.6, theirs 0.7 to 0.9" in by_leakage.note
    assert "theirs does not reach leakage 0.65; its best is 0.7" in by_leakage.note
    assert "ours stops at leakage 0.6; that end stands in for 0.65" in by_leakage.note


def test_an_offer_lies_on_the_frontier_and_keeps_its_shares_in_all_resamples() -> None:
    shifts = [(-0.3, 0.1), (0.0, 0.0), (0.3, -0.1)]
    points = [*curve([(0.5, 0.6), (0.7, 0.8)], shifts), *curve([(0.55, 0.85)], shifts)]  # the last is beaten
    offer = point_at(points, 0.6)
    assert offer is not None
    assert (offer.accuracy, offer.leakage) == (pytest.approx(0.6), pytest.approx(0.7))
    assert offer.leakage == pytest.approx(leakage_at(points, 0.6))
    assert offer.accuracy_replicates == pytest.approx(np.array([0.3, 0.6, 0.9]))  # also where it is missed
    assert offer.leakage_replicates == pytest.approx(np.array([0.8, 0.7, 0.6]))
    assert point_at(points, 0.7) is points[1]
    assert point_at(points, 0.1) is points[0]  # or better
    assert point_at(points, 0.71) is None
    bare = [CurvePoint("a", 1, 0.5, 0.6), CurvePoint("b", 3, 0.7, 0.8)]
    offer = point_at(bare, 0.55)
    assert offer is not None
    assert offer.strength == pytest.approx(1.5)
    assert offer.leakage_replicates is None


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=6), st.integers(0, 8))
def test_an_offer_leaks_what_the_frontier_says(pairs: list[tuple[int, int]], at: int) -> None:
    points = [CurvePoint("p", 0, accuracy / 8, leakage / 8) for accuracy, leakage in pairs]
    offer, least = point_at(points, at / 8), leakage_at(points, at / 8)
    if offer is None:
        assert math.isnan(least)
    else:
        assert offer.leakage == pytest.approx(least)
        assert offer.accuracy >= at / 8 - 1e-9


def test_bad_points_are_refused() -> None:
    good = curve([(0.5, 0.6)], [(0.0, 0.0)] * 3)
    with pytest.raises(DataError, match="not finite"):
        CurvePoint("p", 0, math.nan, 0.5)
    with pytest.raises(DataError, match=r"\(3,\) and \(2,\)"):
        CurvePoint("p", 0, 0.5, 0.5, np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="'bare' has no replicates"):
        matched_difference(good, [CurvePoint("bare", 0, 0.5, 0.5)], 0.5, n_models=16)
    with pytest.raises(DataError, match="ours has 3 replicates, theirs 2"):
        matched_difference(good, curve([(0.5, 0.6)], [(0.0, 0.0)] * 2), 0.5, n_models=16)
    with pytest.raises(DataError, match=r"\[2, 3\] replicates"):
        matched_difference([*good, *curve([(0.5, 0.6)], [(0.0, 0.0)] * 2)], good, 0.5, n_models=16)
