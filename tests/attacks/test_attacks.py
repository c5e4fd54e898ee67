"""Every attack of the catalogue answers the same questions; a new attack is one row in ``rows.py``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import rankdata

from membrane.attacks import (
    ATTACKS,
    BASE,
    RMIA,
    Attack,
    Calibration,
    ClassThresholds,
    Confidence,
    Correctness,
    Ensemble,
    LiRA,
    LossThreshold,
    OfflineBASE,
    OfflineLiRA,
    OfflineRMIA,
    Population,
    RangeMembership,
    VotingRMIA,
)
from membrane.attacks.class_thresholds import best_threshold
from membrane.attacks.ensemble import combined
from membrane.attacks.lira_student import fitted_prior
from membrane.core.errors import SettingError
from membrane.core.settings import to_plain
from membrane.core.values import SIGNAL_KINDS
from membrane.readings import opens
from tests.attacks import questions, slow
from tests.attacks.bank import LEAK, STRANGERS, draw_bank, planted_loss
from tests.attacks.rows import ATTACK_ROWS, Row

rows = pytest.mark.parametrize("row", ATTACK_ROWS, ids=str)


def test_every_attack_of_the_catalogue_has_a_row() -> None:
    assert {row.name for row in ATTACK_ROWS} == set(ATTACKS)


@rows
def test_finds_planted_leak(row: Row) -> None:
    questions.finds_planted_leak(row.attack, row.floor)


@pytest.mark.parametrize(
    "row",  # forty banks take those that train networks seconds each
    [pytest.param(row, marks=pytest.mark.slow if "hidden" in row.settings else (), id=str(row)) for row in ATTACK_ROWS],
)
def test_finds_nothing_where_nothing_is(row: Row) -> None:
    questions.finds_nothing_where_nothing_is(row.attack)


@rows
def test_equals_slow_formula(row: Row) -> None:
    questions.equals_slow_formula(row.attack, row.slow)


@rows
def test_says_the_same_of_all_targets_at_once(row: Row) -> None:
    questions.says_the_same_of_all_targets_at_once(row.attack, row.ranked)


@rows
def test_looks_at_no_targets_membership(row: Row) -> None:
    questions.looks_at_no_targets_membership(row.attack)


@rows
def test_follows_examples(row: Row) -> None:
    questions.follows_examples(row.attack)


@rows
def test_says_what_is_missing(row: Row) -> None:
    questions.says_what_is_missing(row.attack)


@rows
def test_refuses_what_is_not_finite(row: Row) -> None:
    questions.refuses_what_is_not_finite(row.attack)


@rows
def test_reads_only_what_it_declares(row: Row) -> None:
    questions.reads_only_what_it_declares(row.attack)


@rows
def test_bears_extreme_references(row: Row) -> None:
    questions.bears_extreme_references(row.attack, row.learned)


@pytest.mark.parametrize("row", [row for row in ATTACK_ROWS if row.graded], ids=str)
def test_orders_huge_logits(row: Row) -> None:
    questions.orders_huge_logits(row.attack)


@rows
def test_refuses_nonsense(row: Row) -> None:
    for settings in (*row.nonsense, {"no_such_setting": 1}):
        with pytest.raises(SettingError, match=next(iter(settings))):
            ATTACKS.make({"name": row.name, **settings})
    for settings in row.nonsense:
        with pytest.raises(SettingError, match=next(iter(settings))):
            ATTACKS.entry(row.name)(**settings)


@rows
def test_settings_survive_plain_form_and_needs_are_declared(row: Row) -> None:
    attack = row.attack
    assert ATTACKS.make(to_plain(attack)) == attack
    assert set(attack.signals) <= set(SIGNAL_KINDS)
    assert attack.kinds
    assert attack.queries_of() >= 1
    assert all(opens(attack.threat_model, reading.threat_model) for reading in attack.readings)
    assert attack.source
    assert attack.missing(attack.min_in_models, attack.min_out_models, attack.min_population) == []


def test_every_mistake_of_the_settings_is_listed_at_once() -> None:
    with pytest.raises(SettingError, match=r"(?s)2 mistakes.*gamma is 0.*a is 2"):
        OfflineRMIA(gamma=0.0, a=2.0)
    with pytest.raises(SettingError, match=r"(?s)2 mistakes.*variance is 'both'.*min_std is nan"):
        LiRA(variance="both", min_std=float("nan"))  # type: ignore[arg-type]


def test_counting_references_scores_exactly_one_half() -> None:
    assert questions.pooled_auc(lambda seen: seen.n_in, draw_bank(7, 0.0)) == 0.5


def test_lira_trusts_the_variance_of_single_examples_from_32_models_a_side_on() -> None:
    for n_models, expected in ((64, "pooled"), (66, "per_example")):
        seen = draw_bank(8, LEAK, n_models, 30).observe(0)
        for kind in (LiRA, OfflineLiRA):
            np.testing.assert_array_equal(kind()(seen), kind(variance=expected)(seen))


def test_pooled_variance_does_not_hold_the_spread_among_examples() -> None:
    """Rescaled logits 10 apart between examples and 1 apart within: z is counted in the latter."""
    seen = planted_loss(np.logaddexp(0, [-2.0, -2.0]), np.logaddexp(0, [1.0, 0.0, -1.0]), n_in=0)
    np.testing.assert_allclose(OfflineLiRA(variance="pooled")(seen), 2.0)
    for values in (seen.target.rescaled_logit, seen.reference.rescaled_logit):
        values[..., 1, :] += 10
    np.testing.assert_allclose(OfflineLiRA(variance="pooled")(seen), 2.0)


@pytest.mark.parametrize("name", ["rmia", "rmia_offline"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_rmia_orders_one_target_as_the_raw_ratio_does(name: str, gamma: float) -> None:
    seen = draw_bank(9, LEAK, n_queries=2).observe(3)
    scores = ATTACKS.make({"name": name, "gamma": gamma})(seen)
    ratios, _ = slow.probability_ratios(seen, online=name == "rmia", a=0.3)
    np.testing.assert_array_equal(rankdata(scores), rankdata(ratios))


def test_votes_are_a_majority_only_above_one_half() -> None:
    questions.counts_no_exact_half(VotingRMIA())


def test_with_one_query_a_vote_is_the_comparison() -> None:
    seen = draw_bank(9, LEAK).observe(3)
    np.testing.assert_allclose(VotingRMIA()(seen), OfflineRMIA()(seen))
    np.testing.assert_allclose(RangeMembership()(seen), OfflineRMIA()(seen))


def test_prior_of_the_variances_is_found_again() -> None:
    """Sample variances of 7 values each whose true variances are a scaled inverse chi-square, or all equal."""
    rng = np.random.default_rng(3)
    for freedom, scale in ((4.0, 2.0), (20.0, 0.01)):
        true = freedom * scale / rng.chisquare(freedom, size=(50_000, 1))
        found = fitted_prior(true * rng.chisquare(6, size=true.shape) / 6, np.full((50_000, 1), 6.0))
        assert [one.item() for one in found] == pytest.approx([freedom, scale], rel=0.05)
    equal = fitted_prior(rng.chisquare(6, size=(50_000, 1)) / 6, np.full((50_000, 1), 6.0))
    assert equal[0].item() > 200
    assert equal[1].item() == pytest.approx(1, rel=0.02)


def test_ensembles_by_hand() -> None:
    scores = [[1.0, 2.0, 3.0, 4.0], [40.0, 30.0, 20.0, 10.0], [0.0, 1.0, 0.0, 1.0]]
    ranks = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [1.5, 3.5, 1.5, 3.5]]) / 4
    np.testing.assert_array_equal(combined(scores, "coverage"), ranks.max(axis=0))
    np.testing.assert_array_equal(combined(scores, "stability"), ranks.min(axis=0))
    np.testing.assert_array_equal(combined(scores, "majority"), np.median(ranks, axis=0))
    np.testing.assert_array_equal(combined(scores[:2], "majority"), ranks[:2].min(axis=0))  # both are more than half
    np.testing.assert_array_equal(combined([[s] for s in scores], "majority")[0], combined(scores, "majority"))
    questions.ranks_ties_in_the_middle(Ensemble())


def test_an_audit_that_names_no_attacks_runs_neither_combinations_of_others_nor_what_needs_readings() -> None:
    usual = {name for name in ATTACKS if ATTACKS.entry(name).by_default}
    assert not usual & {"rmia_vote", "range", "per_sample", "ensemble"}
    assert not any(ATTACKS.make(name).readings for name in usual)


@pytest.mark.parametrize("attack", [OfflineRMIA(), Population()], ids=lambda attack: attack.name)
def test_who_is_as_sure_as_a_stranger_beats_it(attack: Attack) -> None:
    questions.counts_equal_ratios_as_beaten(attack)


@pytest.mark.parametrize("attack", [Confidence(), Population()], ids=lambda attack: attack.name)
def test_with_one_query_examples_stand_in_the_order_of_their_losses(attack: Attack) -> None:
    seen = draw_bank(9, LEAK, dtype=np.float64).observe(3)
    np.testing.assert_array_equal(rankdata(attack(seen)), rankdata(LossThreshold()(seen)))


def test_confidence_averages_probabilities_and_the_loss_their_logarithms() -> None:
    seen = draw_bank(9, LEAK, n_queries=2).observe(3)
    p = np.full((200, 2), 0.25)
    p[0] = 0.8, 0.001
    target = dataclasses.replace(seen.target, loss=-np.log(p), rescaled_logit=np.log(p / (1 - p)))
    seen = dataclasses.replace(seen, target=target)
    np.testing.assert_allclose(Confidence()(seen)[:2], [np.log(0.4005 / 0.5995), np.log(1 / 3)])
    assert LossThreshold()(seen)[0] < LossThreshold()(seen)[1]


@pytest.mark.parametrize("name", ["entropy", "modified_entropy", "class_thresholds"])
def test_bears_an_entropy_of_nothing(name: str) -> None:
    questions.bears_an_entropy_of_nothing(ATTACKS.make(name))


def test_correctness_sees_the_gap_in_accuracy_and_no_more() -> None:
    bank = draw_bank(0, LEAK)
    right = bank.signals.correct[..., 0]
    gap = right[bank.members].mean(dtype=np.float64) - right[~bank.members].mean(dtype=np.float64)
    assert gap > 0.2
    assert questions.pooled_auc(Correctness(), bank) == pytest.approx(0.5 + gap / 2)


def test_population_puts_different_targets_on_one_scale() -> None:
    """A target that is surer of everything by one logit gives the same shares."""
    seen = draw_bank(9, LEAK, dtype=np.float64).observe(3)
    surer = [one.map(lambda values: values + 1) for one in (seen.target, seen.population)]
    raised = dataclasses.replace(seen, target=surer[0], population=surer[1])
    steps = [np.floor(Population()(one) * len(STRANGERS)) for one in (seen, raised)]
    np.testing.assert_array_equal(*steps)


@pytest.mark.parametrize(
    ("members", "non_members", "threshold"),
    [
        ([3, 1, 2], [0, 2, 0.5], 1),  # catches all, accuses a third
        ([1, 3], [0, 2], 3),  # as good as 1, and accuses fewer
        ([1], [1], 1),  # accuses all: no better, no worse than nobody
        ([0, 0, 5], [1, 1, 1, 1], 5),
        ([2, 2], [1, 1, 2], 2),
    ],
)
def test_threshold_by_hand(members: list[float], non_members: list[float], threshold: float) -> None:
    assert best_threshold(np.sort(np.array(members, float)), np.sort(np.array(non_members, float))) == threshold


def test_threshold_is_the_best_of_all_values_whatever_ties() -> None:
    rng = np.random.default_rng(0)
    for n_values in (2, 5, 1000):
        for n, m in ((1, 9), (40, 25), (60, 60)):
            members, non_members = rng.integers(1, n_values + 1, n), rng.integers(n_values, size=m)
            gains = {
                value: np.mean(members >= value) - np.mean(non_members >= value)
                for value in np.unique([*members, *non_members]).tolist()
            }
            found = best_threshold(np.sort(members.astype(float)), np.sort(non_members.astype(float)))
            assert gains[found] == pytest.approx(max(gains.values()))


def test_class_thresholds_do_not_mind_what_all_models_find_easy_in_a_class() -> None:
    """Rescaled logits up to 90 apart between classes: the plain score is lost in them."""
    bank = draw_bank(0, LEAK, dtype=np.float64)
    attack = ClassThresholds(Confidence())
    logit = bank.signals.rescaled_logit + 10 * bank.labels[:, None]
    easy = dataclasses.replace(bank, signals=dataclasses.replace(bank.signals, rescaled_logit=logit))
    np.testing.assert_allclose(attack(easy.observe(2)), attack(bank.observe(2)), atol=1e-9)
    assert questions.pooled_auc(attack, easy) > 0.9
    assert questions.pooled_auc(Confidence(), easy) < 0.6


@pytest.mark.parametrize("name", ["confidence", "entropy", "modified_entropy", "population", "class_thresholds"])
def test_tells_the_surest_apart(name: str) -> None:
    questions.tells_the_surest_apart(ATTACKS.make(name))


def test_calibration_does_not_mind_what_all_models_find_difficult() -> None:
    seen = draw_bank(9, LEAK, dtype=np.float64).observe(3)
    difficulty = np.linspace(0, 50, 200)[:, None]
    target, reference = (one.map(lambda values: values + difficulty) for one in (seen.target, seen.reference))
    hard = dataclasses.replace(seen, target=target, reference=reference)
    np.testing.assert_allclose(Calibration()(hard), Calibration()(seen), atol=1e-9)


def test_online_base_orders_one_target_as_online_rmia_does() -> None:
    seen = draw_bank(9, LEAK, n_queries=2).observe(3)
    np.testing.assert_array_equal(rankdata(BASE()(seen)), rankdata(RMIA()(seen)))


def test_offline_base_goes_from_the_loss_to_the_whole_ratio() -> None:
    seen = draw_bank(9, LEAK, dtype=np.float64).observe(3)
    np.testing.assert_array_equal(OfflineBASE(scale=0.0)(seen), LossThreshold()(seen))
    ratios, _ = slow.probability_ratios(seen, online=False, a=1.0)
    np.testing.assert_allclose(OfflineBASE(scale=1.0)(seen), np.log(ratios))
