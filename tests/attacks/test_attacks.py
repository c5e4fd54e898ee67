"""Every attack of the catalogue answers the same questions; a new attack is one row in ``rows.py``."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from membrane.attacks import ATTACKS, LiRA, OfflineLiRA, OfflineRMIA
from membrane.core.errors import SettingError
from membrane.core.settings import to_plain
from membrane.core.values import SIGNAL_KINDS
from tests.attacks import questions, slow
from tests.attacks.bank import LEAK, draw_bank, planted_loss
from tests.attacks.rows import ATTACK_ROWS, Row

rows = pytest.mark.parametrize("row", ATTACK_ROWS, ids=str)


def test_every_attack_of_the_catalogue_has_a_row() -> None:
    assert {row.name for row in ATTACK_ROWS} == set(ATTACKS)


@rows
def test_finds_planted_leak(row: Row) -> None:
    questions.finds_planted_leak(row.attack, row.floor)


@rows
def test_finds_nothing_where_nothing_is(row: Row) -> None:
    questions.finds_nothing_where_nothing_is(row.attack)


@rows
def test_equals_slow_formula(row: Row) -> None:
    questions.equals_slow_formula(row.attack, row.slow)


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
    questions.bears_extreme_references(row.attack)


@pytest.mark.parametrize("row", [row for row in ATTACK_ROWS if row.settings != {"smoothing": "none"}], ids=str)
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
    assert attack.signals
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


def test_rmia_counts_an_equal_ratio_as_beaten() -> None:
    questions.counts_equal_ratios_as_beaten(OfflineRMIA())
