from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import audit_one_run, guess_membership, one_run, one_run_p_value


def textbook_p_value(m: int, r: int, v: int, chance: Fraction, delta: Fraction) -> Fraction:
    """Theorem 5.2 in fractions: a sum for each probability, a loop for the maximum."""

    def probability(low: int, high: int) -> Fraction:
        return sum((math.comb(r, k) * chance**k * (1 - chance) ** (r - k) for k in range(low, high)), Fraction(0))

    worst = max((probability(v - i, v) / i for i in range(1, v + 1)), default=Fraction(0))
    return min(probability(v, r + 1) + 2 * m * delta * worst, Fraction(1))


@pytest.mark.parametrize(
    ("m", "r", "v"), [(1, 1, 1), (10, 10, 9), (40, 12, 0), (40, 12, 7), (40, 12, 12), (60, 30, 22)]
)
def test_p_value_equals_the_theorem_in_fractions(m: int, r: int, v: int) -> None:
    for chance in (Fraction(1, 2), Fraction(3, 4), Fraction(99, 100)):
        for delta in (Fraction(0), Fraction(1, 10**5), Fraction(1, 2 * m)):
            found = one_run_p_value(m, r, v, math.log(chance / (1 - chance)), float(delta))
            assert found == pytest.approx(float(textbook_p_value(m, r, v, chance, delta)), rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1 / 200])
def test_p_value_rises_with_epsilon(delta: float) -> None:
    for v in range(61):
        values = [one_run_p_value(100, 60, v, epsilon, delta) for epsilon in np.linspace(0, 8, 60)]
        assert (np.diff(values) >= -1e-12).all()


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("n_correct", [33, 40, 45, 50])
def test_bound_is_where_the_theorem_reaches_the_error(n_correct: int, delta: float) -> None:
    guesses = np.repeat([1, -1, 0], [25, 25, 50])
    is_member = (guesses == 1) ^ (np.arange(100) < 50 - n_correct)

    def excess(epsilon: float) -> float:
        chance = Fraction(float(expit(epsilon))).limit_denominator(10**9)
        return float(textbook_p_value(100, 50, n_correct, chance, Fraction(delta))) - 0.05

    found = audit_one_run(guesses, is_member, delta=delta)
    assert (found.n_canaries, found.n_guesses, found.n_correct) == (100, 50, n_correct)
    assert found.epsilon_low == pytest.approx(brentq(excess, 0, 20) if excess(0) < 0 else 0.0, abs=1e-8)
    assert found.p_value == pytest.approx(excess(0) + 0.05, rel=1e-9)


def test_one_hundred_right_guesses_by_hand() -> None:
    """q^100 = 0.05 at q = 0.97049: epsilon is log(q / (1 - q))."""
    q = 0.05 ** (1 / 100)
    found = audit_one_run(np.ones(100, int), np.ones(100, bool))
    assert found.epsilon_low == pytest.approx(math.log(q / (1 - q)))
    assert found.p_value == pytest.approx(2.0**-100)
    shared = audit_one_run(np.ones(100, int), np.ones(100, bool), n_audits=5)
    q = 0.01 ** (1 / 100)
    assert shared.epsilon_low == pytest.approx(math.log(q / (1 - q)))


def share_above(
    epsilon: float, n_runs: int, generator: np.random.Generator, *, m: int = 200, shift: float = 0.0
) -> float:
    """How often audits of randomized response, ``epsilon`` private, claim more than epsilon.

    Its answers are the scores, less noise that breaks their ties; at epsilon 0 they are noise alone.
    """
    above, m = 0, 200
    for _ in range(n_runs):
        is_member = generator.random(m) < 0.5
        truthful = generator.random(m) < expit(epsilon)
        scores = (is_member == truthful) + shift * is_member + 0.1 * generator.random(m)
        above += audit_one_run(guess_membership(scores, 30, 30), is_member).epsilon_low > epsilon
    return above / n_runs


def size(n_guesses: int, epsilon: float = 0.0) -> float:
    """Chance, without simulation, that an audit of something just ``epsilon`` private claims more than epsilon."""
    bounds = [one_run._epsilon_low(200, n_guesses, v, 0.0, 0.05) for v in range(n_guesses + 1)]
    return float(sum(binom.pmf(v, n_guesses, expit(epsilon)) for v, bound in enumerate(bounds) if bound > epsilon))


def test_a_private_mechanism_is_found_less_private_less_often_than_allowed() -> None:
    for n_guesses in (1, 4, 5, 10, 60, 199):
        assert (size(n_guesses) > 0) == (n_guesses >= 5)
        for epsilon in (0.0, 0.1, 1.0, 4.0):
            assert size(n_guesses, epsilon) <= 0.05


def test_audits_find_something_as_often_as_they_must() -> None:
    """Of nothing it is 4.62 %, so one in five simulations of 2000 sees more than 5 %; this one does."""
    for epsilon, n_runs, seed in ((0.0, 2000, 0), (1.0, 400, 1)):
        expected = size(60, epsilon)
        seen = share_above(epsilon, n_runs, np.random.default_rng(seed))
        assert abs(seen - expected) < 4 * math.sqrt(expected * (1 - expected) / n_runs)
    assert size(60) == pytest.approx(0.04623, abs=1e-5)


def test_audits_of_a_leak_find_it() -> None:
    assert share_above(1.0, 50, np.random.default_rng(1), shift=2.0) > 0.9


def test_bound_comes_close_to_the_truth_with_many_canaries() -> None:
    generator = np.random.default_rng(2)
    is_member = generator.random(20000) < 0.5
    guesses = np.where(is_member == (generator.random(20000) < expit(2.0)), 1, -1)
    assert 1.9 < audit_one_run(guesses, is_member).epsilon_low < 2.0


def test_best_of_many_guesses_needs_to_say_how_many() -> None:
    """Forty attacks on the same nothing: the best of them claims a leak, unless they share the error."""
    generator = np.random.default_rng(3)
    alone, shared = 0, 0
    for _ in range(60):
        is_member = generator.random(100) < 0.5
        attempts = [guess_membership(generator.random(100), 20, 20) for _ in range(40)]
        alone += max(audit_one_run(one, is_member).epsilon_low for one in attempts) > 0
        shared += max(audit_one_run(one, is_member, n_audits=40).epsilon_low for one in attempts) > 0
    assert alone > 30
    assert shared <= 6


def test_guesses_equal_counting() -> None:
    generator = np.random.default_rng(4)
    for n_values in (1, 3, 1000):
        scores = generator.integers(n_values, size=50) / 7
        for n_in, n_out in ((0, 0), (10, 10), (50, 0), (0, 50), (20, 30)):
            expected = [
                int(sum(other >= score for other in scores) <= n_in)
                - int(sum(other <= score for other in scores) <= n_out)
                for score in scores
            ]
            assert guess_membership(scores, n_in, n_out).tolist() == expected


def test_guesses_do_not_hang_on_the_order_of_tied_canaries() -> None:
    """Members listed first, one score for all: a guesser by place would be right every time."""
    assert not guess_membership(np.zeros(40), 20, 20).any()
    generator = np.random.default_rng(5)
    scores, order = generator.integers(5, size=40), generator.permutation(40)
    np.testing.assert_array_equal(guess_membership(scores, 15, 9)[order], guess_membership(scores[order], 15, 9))


def test_nonsense_is_refused() -> None:
    guesses, is_member = np.array([1, -1, 0]), np.array([True, False, True])
    for n_in, n_out in ((-1, 1), (1, -1), (2, 2)):
        with pytest.raises(SettingError, match=f"n_in is {n_in} and n_out {n_out}"):
            guess_membership([1.0, 2.0, 3.0], n_in, n_out)
    with pytest.raises(DataError, match="NaN"):
        guess_membership([math.nan, 1.0], 1, 0)
    with pytest.raises(DataError, match="must be equal"):
        audit_one_run(guesses[:2], is_member)
    for bad in (guesses * 2, guesses * 1.0):
        with pytest.raises(DataError, match="must be the integers"):
            audit_one_run(bad, is_member)
    with pytest.raises(NotEnoughDataError, match="no guess"):
        audit_one_run(guesses * 0, is_member)
    with pytest.raises(SettingError, match="n_audits is 0"):
        audit_one_run(guesses, is_member, n_audits=0)
    with pytest.raises(SettingError, match="level is 1"):
        audit_one_run(guesses, is_member, level=1.0)
    for delta in (-1e-9, 0.17, math.nan):
        with pytest.raises(SettingError, match=r"with 3 canaries it must be 0 to 0\.167"):
            audit_one_run(guesses, is_member, delta=delta)
    for epsilon in (-1.0, math.inf, math.nan):
        with pytest.raises(SettingError, match="epsilon is"):
            one_run_p_value(3, 2, 1, epsilon)
    with pytest.raises(DataError, match="3 right of 2 guesses"):
        one_run_p_value(3, 2, 3, 0.0)
