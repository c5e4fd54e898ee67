"""The questions that every attack answers; each raises if the answer is wrong.

They are functions of their own so that ``test_faults.py`` can ask them of attacks that were broken on purpose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from membrane.attacks import Attack
from membrane.core.errors import DataError, NotEnoughDataError
from membrane.core.values import SIGNAL_KINDS, Observation, Signals
from membrane.metrics import auc
from tests.attacks.bank import (
    LEAK,
    STRANGERS,
    Bank,
    contrary_bank,
    draw_bank,
    planted_loss,
    saturated_bank,
    uneven_observation,
)
from tests.attacks.slow import Slow

PLACES = ("target", "reference", "population", "population_reference")


def pooled_auc(attack: Callable[[Observation], npt.ArrayLike], bank: Bank, keep_partner: bool = False) -> float:
    """AUC over the trials of all targets together, as an audit pools them; ``keep_partner`` is the classic mistake."""
    n_models = len(bank.members)
    rows = [np.delete(np.arange(n_models), target) if keep_partner else None for target in range(n_models)]
    scores = [attack(bank.observe(target, rows[target])) for target in range(n_models)]
    return auc(np.concatenate(scores), bank.members.ravel())


def finds_planted_leak(attack: Attack, floor: float) -> None:
    """Eight models, so 3 IN and 3 OUT references per example, float32 signals as in the store."""
    found = pooled_auc(attack, draw_bank(0, LEAK))
    assert found >= floor, f"AUC {found:.3f} on a planted leak; at least {floor} is there to be found"


def finds_nothing_where_nothing_is(attack: Attack, keep_partner: bool = False) -> None:
    """Pooled AUC 0.5 within four standard errors over 40 independent banks.

    Trials within a bank share models and examples; the spread *between* banks holds whatever that does to the AUC.
    """
    found = np.array([pooled_auc(attack, draw_bank(seed, 0.0), keep_partner) for seed in range(40)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert error < 0.005, f"the standard error {error:.4f} is too wide to see anything"
    assert abs(found.mean() - 0.5) < 4 * error, f"AUC {found.mean():.4f} +- {error:.4f} where nothing leaks"


def equals_slow_formula(attack: Attack, slow: Slow) -> None:
    """Textbook loops in float64, with equal and with unequal numbers of references, one query and several."""
    paired = [draw_bank(seed, LEAK, 8, 40, n_queries, np.float64).observe(5) for seed, n_queries in ((1, 1), (2, 3))]
    for seen in (*paired, uneven_observation(3)):
        np.testing.assert_allclose(attack(seen), slow(seen), rtol=1e-9, atol=1e-9)


def says_the_same_of_all_targets_at_once(attack: Attack, ranked: bool = False) -> None:
    """``score_all`` equals ``score`` target by target, also among models that agree to the fifth digit but for one.

    And where all labels' probabilities round to 1, and RMIA compares losses of 1e-18 with each other.

    Where that one is the target it is 1e8 standard deviations from both sides, and LiRA the difference of two numbers
    of 1e16: nothing can be asked there. Ranks are not asked among models that agree.
    """
    banks = [draw_bank(11, LEAK, 8, 40, 3), draw_bank(12, 0.0, 10, 60, 1, np.float64), saturated_bank()]
    for bank in banks if ranked else [*banks, contrary_bank()]:
        together = attack.against_all(bank.lineup)
        one_by_one = np.array([attack(bank.observe(target)) for target in range(len(bank.members))])
        logit = bank.signals.rescaled_logit.mean(axis=2)
        usual = np.abs(logit - np.median(logit, axis=0)) < 100
        np.testing.assert_allclose(together[usual], one_by_one[usual], rtol=1e-9, atol=1e-9)


def looks_at_no_targets_membership(attack: Attack) -> None:
    """Told that a pair's two models were trained the other way round, it says the same of these two."""
    line = draw_bank(14, LEAK, 8, 60).lineup
    other_way = line.membership.copy()
    other_way[2:4] = other_way[3:1:-1]
    told_otherwise = attack.against_all(dataclasses.replace(line, membership=other_way))
    scores = attack.against_all(line)
    np.testing.assert_allclose(told_otherwise[2:4], scores[2:4], rtol=1e-9, atol=1e-9)


def follows_examples(attack: Attack) -> None:
    """Shuffled examples give shuffled scores, to the last bit; shuffled references and strangers the same scores."""
    seen = draw_bank(4, LEAK, n_queries=2).observe(0)
    scores, rng = attack(seen), np.random.default_rng(4)
    order = rng.permutation(len(scores))
    np.testing.assert_array_equal(attack(reordered(seen, examples=order)), scores[order])
    np.testing.assert_allclose(attack(reordered(seen, references=rng.permutation(6))), scores, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(attack(reordered(seen, strangers=rng.permutation(120))), scores)


def reordered(
    seen: Observation,
    examples: npt.ArrayLike = slice(None),
    references: npt.ArrayLike = slice(None),
    strangers: npt.ArrayLike = slice(None),
) -> Observation:
    """The observation with its examples, references or population in another order."""
    return Observation(
        target=seen.target.map(lambda values: values[examples]),
        reference=seen.reference.map(lambda values: values[references][:, examples]),
        in_reference=seen.in_reference[references][:, examples],
        labels=seen.labels[examples],
        population=seen.population.map(lambda values: values[strangers]),
        population_reference=seen.population_reference.map(lambda values: values[references][:, strangers]),
    )


def says_what_is_missing(attack: Attack) -> None:
    """One reference or stranger fewer than declared is refused with both numbers; the declared number is enough."""
    seen = draw_bank(5, LEAK).observe(0)
    for count, what in ((attack.min_in_models, "IN"), (attack.min_out_models, "OUT")):
        fewest = np.repeat(np.arange(6)[:, None] < count, 200, axis=1)
        enough = dataclasses.replace(seen, in_reference=fewest if what == "IN" else ~fewest)
        attack(enough)
        if count:
            short = np.repeat(np.arange(6)[:, None] < count - 1, 200, axis=1)
            with pytest.raises(NotEnoughDataError, match=f"needs {count} {what} references .* there are {count - 1}"):
                attack(dataclasses.replace(seen, in_reference=short if what == "IN" else ~short))
    count = attack.min_population
    attack(reordered(seen, strangers=np.arange(count)))
    if count:
        with pytest.raises(NotEnoughDataError, match=f"needs {count} population examples; there are {count - 1}"):
            attack(reordered(seen, strangers=np.arange(count - 1)))


def refuses_what_is_not_finite(attack: Attack) -> None:
    """NaN and infinity in any signal that it reads, wherever; ``DataError`` names the signal and the place."""
    seen = draw_bank(6, LEAK).observe(0)
    for kind in attack.kinds:
        for place, bad in zip(PLACES, (np.nan, np.inf, -np.inf, np.nan), strict=True):
            with pytest.raises(DataError, match=f"reads '{kind}', and the {place} models"):
                attack(dataclasses.replace(seen, **{place: spoiled(getattr(seen, place), kind, bad)}))


def reads_only_what_it_declares(attack: Attack) -> None:
    """Signals and readings that it does not declare may be NaN."""
    seen = draw_bank(6, LEAK).observe(0)
    without = seen
    for kind in {*SIGNAL_KINDS, *seen.target.readings} - set(attack.kinds):
        for place in PLACES:
            without = dataclasses.replace(without, **{place: spoiled(getattr(without, place), kind, np.nan)})
    np.testing.assert_array_equal(attack(without), attack(seen))


def spoiled(signals: Signals, kind: str, bad: float) -> Signals:
    """The signals with one value of ``kind`` replaced."""
    values = signals[kind].copy()
    values.flat[values.size // 2] = bad
    return Signals.of(signals.arrays() | {kind: values}, {**signals.readings, kind: values})


def orders_huge_logits(attack: Attack) -> None:
    """Losses from 1e-30 to 1000 under the same references: finite, and never a surer example below another.

    IN and OUT references spread equally, because LiRA with unequal variances is not monotone, and rightly so.
    """
    losses = np.array([1e-30, 1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0, 500.0, 1000.0])
    references = np.logaddexp(0, [-3.0, -2.0, -1.0, 1.0, 0.0, -1.0])  # rescaled logits 3, 2, 1 IN and -1, 0, 1 OUT
    for dtype in (np.float32, np.float64):
        scores = attack(planted_loss(losses, references, n_in=3, dtype=dtype))
        assert (np.diff(scores) < 0).all(), f"{scores} for rising losses"


def tells_the_surest_apart(attack: Attack) -> None:
    """Probabilities that all round to 1 in float64, and entropies that vanish next to any threshold."""
    scores = attack(planted_loss([1e-30, 1e-25, 1e-20, 1e-17], [0.1, 0.2, 0.3, 0.3, 0.4, 0.5], n_in=3))
    assert (np.diff(scores) < 0).all(), f"{scores} for rising losses"


def bears_an_entropy_of_nothing(attack: Attack) -> None:
    """As float32 stores it; next to the smallest number that it can, and to one that is far from it."""
    seen = draw_bank(6, LEAK).observe(0)
    values = seen.target.entropy.copy()
    values[:3, 0] = 0.0, 3e-45, 1e-10
    scores = attack(dataclasses.replace(seen, target=seen.target.map(lambda _: values)))
    assert scores[0] > scores[1] > scores[2]


def bears_extreme_references(attack: Attack, learned: bool = False) -> None:
    """References that agree to the last bit, or are as wrong or as sure as float32 can say, still give numbers."""
    for references in ([1.0] * 6, [1e-30, 1e-30, 500.0] * 2, [900.0] * 6, [1e-30] * 6):
        scores = attack(planted_loss([1e-30, 0.5, 800.0], references, n_in=3, dtype=np.float32))
        assert np.isfinite(scores).all()
        assert learned or scores[0] >= scores[2]


def counts_no_exact_half(attack: Attack) -> None:
    """Surer than a stranger under one of two queries, and less sure under the other: no majority."""
    seen = planted_loss(np.full(4, 1.0), [1.0] * 6, n_in=3)
    losses = {
        "target": [0.5, 1.5],
        "population": [1.5, 0.5],
        "reference": [1.0, 1.0],
        "population_reference": [1.0, 1.0],
    }
    two = {
        place: getattr(seen, place).map(lambda values, pair=pair: np.broadcast_to(pair, (*values.shape[:-1], 2)))
        for place, pair in losses.items()
    }
    assert (attack(dataclasses.replace(seen, **two)) < 1 / len(STRANGERS)).all()


def ranks_ties_in_the_middle(attack: Attack) -> None:
    """Examples that no attack tells apart share the middle of their places."""
    scores = attack(planted_loss(np.full(5, 1.0), [0.5] * 6, n_in=3))
    np.testing.assert_allclose(scores, 3 / 5)


def counts_equal_ratios_as_beaten(attack: Attack) -> None:
    """Examples with the losses of the strangers, every reference the same: each x is exactly as sure as one z."""
    seen = planted_loss(STRANGERS, [1.0] * 6, n_in=3)
    beaten = np.floor(attack(seen) * len(STRANGERS) + 1e-6)
    np.testing.assert_array_equal(beaten, np.arange(len(STRANGERS), 0, -1))
