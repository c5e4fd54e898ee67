"""A lower bound on epsilon from one trained model, by guessing which of many canaries it was trained on.

Source: Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", arXiv:2305.08846, Theorem 5.2:
if every one of m canaries is trained on or not by its own fair coin, the number of right ones among r guesses about an
(epsilon, delta)-private training exceeds v no more often than one of Binomial(r, e^epsilon / (1 + e^epsilon)) does, up
to a term of order m delta. Where we differ: guesses are values made without labels, scores that tie across a cut are
not guessed (the paper's sort takes them in order of place), audits of several guesses share one error budget, and a
delta above 1 / (2 m), for which the p-value need not rise with epsilon, is refused.

The coins must be fair and independent. Membership drawn as halves of a fixed size, as complementary pairs are, does
not qualify: there, each canary's coin says something about the others'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, expit, gammaln

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics.arrays import FloatArray, IntArray, bools, finite_floats
from membrane.metrics.intervals import check_level

_STEPS = 60  # halvings of an interval no longer than 1: down to the last bit


@dataclass(frozen=True)
class OneRunAudit:
    """What the guesses about one model prove.

    Args:
        epsilon_low: Nats; the training is less private than this, or a chance of ``1 - level`` came true. 0 proves
            nothing.
        p_value: Chance of as many right guesses about a training with epsilon 0 and this delta.
        n_correct: v, right guesses.
        n_guesses: r, canaries that a guess was made about.
        n_canaries: m, those abstained from included.
        delta: Of the (epsilon, delta) that is bounded.
        level: Confidence, over all ``n_audits`` together.
        n_audits: Sets of guesses that share the error budget.
    """

    epsilon_low: float
    p_value: float
    n_correct: int
    n_guesses: int
    n_canaries: int
    delta: float
    level: float
    n_audits: int


def guess_membership(scores: ArrayLike, n_in: int, n_out: int) -> IntArray:
    """(m,) guesses: 1 for the ``n_in`` highest scores, -1 for the ``n_out`` lowest, 0 for no guess.

    It sees no labels, and a group of tied scores that would be cut in two gets no guess, because the order in which
    tied canaries are listed may give their labels away. So there can be fewer guesses than asked for.

    Args:
        scores: (m,), higher means more likely a member.
        n_in: Guesses "member", 0 or more; to be chosen before any label is looked at.
        n_out: Guesses "non-member", likewise.

    Raises:
        DataError: If scores are not (m,) finite numbers.
        SettingError: If a number is negative, or both together exceed m.

    >>> guess_membership([0.1, 5.0, 2.0, 2.0, 2.0, -3.0], n_in=2, n_out=1).tolist()
    [0, 1, 0, 0, 0, -1]
    """
    checked = finite_floats(scores, "scores", 1)
    if min(n_in, n_out) < 0 or n_in + n_out > checked.size:
        raise SettingError(
            f"n_in is {n_in} and n_out {n_out}; both must be 0 or more, together at most {checked.size}."
        )
    rising = np.sort(checked)
    at_least = checked.size - np.searchsorted(rising, checked, side="left")  # scores as high or higher
    at_most = np.searchsorted(rising, checked, side="right")
    guesses: IntArray = (at_least <= n_in).astype(np.int64) - (at_most <= n_out)
    return guesses


def audit_one_run(
    guesses: ArrayLike, is_member: ArrayLike, *, delta: float = 0.0, level: float = 0.95, n_audits: int = 1
) -> OneRunAudit:
    """The largest epsilon that the guesses rule out, with everything it rests on.

    Args:
        guesses: (m,) integers 1, -1 or 0, as ``guess_membership`` makes them.
        is_member: (m,) bool, drawn by independent fair coins.
        delta: 0 to 1 / (2 m).
        level: Confidence (0.95 means 95 %).
        n_audits: Sets of guesses that are audited on the same labels; if you look at the best of K, say K.

    Raises:
        DataError: If the arrays do not fit each other or hold something else.
        NotEnoughDataError: If there is no guess at all.
        SettingError: If ``delta``, ``level`` or ``n_audits`` is outside its range.
    """
    check_level(level)
    if n_audits < 1:
        raise SettingError(f"n_audits is {n_audits}; it must be 1 or more.")
    member, guessed = bools(is_member, "is_member", 1), np.asarray(guesses)
    if guessed.shape != member.shape:
        raise DataError(f"guesses have shape {guessed.shape}, is_member {member.shape}; they must be equal.")
    if guessed.dtype.kind not in "iu" or not np.isin(guessed, (-1, 0, 1)).all():
        raise DataError("guesses must be the integers 1 (member), -1 (non-member) or 0 (no guess).")
    n_canaries, n_guesses = guessed.size, int(np.count_nonzero(guessed))
    if not n_guesses:
        raise NotEnoughDataError("There is no guess to judge; ask for more, or find out why the scores tie.")
    n_correct = int(np.count_nonzero(np.where(member, guessed == 1, guessed == -1)))
    counts = n_canaries, n_guesses, n_correct
    return OneRunAudit(
        epsilon_low=_epsilon_low(*counts, delta, (1 - level) / n_audits),
        p_value=one_run_p_value(*counts, 0.0, delta),
        n_correct=n_correct,
        n_guesses=n_guesses,
        n_canaries=n_canaries,
        delta=delta,
        level=level,
        n_audits=n_audits,
    )


def one_run_p_value(n_canaries: int, n_guesses: int, n_correct: int, epsilon: float, delta: float = 0.0) -> float:
    """Largest chance of ``n_correct`` or more right guesses about an (epsilon, delta)-private training; 0 to 1.

    It rises with ``epsilon``.

    Args:
        n_canaries: m, each trained on by its own fair coin.
        n_guesses: r, at most m.
        n_correct: v, at most r.
        epsilon: Nats, 0 or more.
        delta: 0 to 1 / (2 m).

    Raises:
        DataError: If the counts do not fit each other.
        SettingError: If ``epsilon`` or ``delta`` is outside its range.

    >>> f"{one_run_p_value(10, 10, 9, epsilon=0.0):.4f}"  # 11 of the 1024 ways that 10 coins can fall
    '0.0107'
    """
    if not 0 <= n_correct <= n_guesses <= n_canaries:
        raise DataError(f"{n_correct} right of {n_guesses} guesses about {n_canaries} canaries cannot be.")
    if not 0 <= epsilon < math.inf:  # written this way round so that NaN is refused too
        raise SettingError(f"epsilon is {epsilon}; it must be 0 or more, and finite (nats).")
    if not 0 <= 2 * n_canaries * delta <= 1:
        raise SettingError(f"delta is {delta}; with {n_canaries} canaries it must be 0 to {1 / (2 * n_canaries):.3g}.")
    if not n_correct:
        return 1.0
    above = float(betainc(n_correct, n_guesses - n_correct + 1, expit(epsilon)))  # P[Binomial >= v]
    if not delta:
        return above
    # What delta can move: chance of falling short by i guesses or fewer, per guess, at its worst.
    short = np.cumsum(_binomial(np.arange(n_correct - 1, -1, -1), n_guesses, epsilon))
    return min(above + 2 * n_canaries * delta * float((short / np.arange(1, n_correct + 1)).max()), 1.0)


def _binomial(successes: IntArray, n: int, log_odds: float) -> FloatArray:
    """Chance of each number of successes (K,) in ``n`` trials."""
    ways = gammaln(n + 1) - gammaln(successes + 1) - gammaln(n - successes + 1)
    chances: FloatArray = np.exp(ways + successes * log_odds - n * np.logaddexp(0, log_odds))
    return chances


def _epsilon_low(n_canaries: int, n_guesses: int, n_correct: int, delta: float, error: float) -> float:
    """Where the p-value, which rises with epsilon, passes ``error``; 0 if it never was below.

    For 2 m delta <= 1 it rises: with i the worst shortfall it is (1 - 2 m delta / i) P[W >= v] plus (2 m delta / i)
    P[W >= v - i], in which no factor is negative.
    """

    def p_value(epsilon: float) -> float:
        return one_run_p_value(n_canaries, n_guesses, n_correct, epsilon, delta)

    low, high = 0.0, 1.0
    if p_value(low) > error:
        return 0.0
    while p_value(high) <= error:
        low, high = high, high + 1
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle) <= error else (low, middle)
    return low
