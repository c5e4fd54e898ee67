"""Attackers who know what was chosen for the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import membrane
from membrane.attacks import ATTACKS
from membrane.core import Store
from membrane.defenses import EarlyStopping
from membrane.pptp import PPTP, FrozenPlan
from membrane.training import Bank, train_fleet
from membrane.verbs.informed import choices_of, informed_scores
from membrane.verbs.observe import score_bank
from tests.small import RECIPE, task
from tests.training.jobs import own_loop

PROTECTED = RECIPE.with_defense(PPTP(max_accuracy_drop=0.03, max_candidates=8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("informed") / "store")  # where an audit with that folder as `out` looks


@pytest.fixture(scope="module")
def bank(store: Store) -> Bank:
    return train_fleet(PROTECTED, task(), store, seed=0)


def test_a_choice_given_to_all_models_is_what_the_one_model_got(store: Store, bank: Bank) -> None:
    choices = choices_of(PROTECTED, bank)
    assert {type(one) for one in choices} == {FrozenPlan}
    for row, choice in enumerate(choices):
        again = train_fleet(RECIPE.with_defense(choice), task(), store, seed=0, rows=[row])
        np.testing.assert_array_equal(again.pool.loss[0], bank.pool.loss[row])


def test_a_model_that_came_back_unchanged_is_attacked_as_undefended() -> None:
    facts = {"choice": {"applied": False, "plan": {"stretches": []}}}
    assert PPTP().as_chosen(facts) == PPTP().base


def test_every_target_meets_references_with_its_own_choice(store: Store, bank: Bank) -> None:
    attacks = [ATTACKS.make(name) for name in ("loss", "midpoint", "rmia_offline")]
    choices = choices_of(PROTECTED, bank)
    assert len(set(choices)) > 1
    found = informed_scores(PROTECTED, choices, task(), attacks, store, 0)
    labels = task().pool.y.numpy()
    for row, choice in enumerate(choices):
        alike = train_fleet(RECIPE.with_defense(choice), task(), store, seed=0)
        for name, scores in score_bank(alike, task().membership, labels, attacks).items():
            np.testing.assert_array_equal(found[name][row], scores[row])
    apart = score_bank(bank, task().membership, labels, attacks)
    np.testing.assert_array_equal(found["loss"], apart["loss"])
    assert not np.array_equal(found["midpoint"], apart["midpoint"])


def test_nothing_is_chosen_by_plain_defenses_or_known_of_functions(store: Store) -> None:
    plain = train_fleet(RECIPE.with_defense(EarlyStopping(5)), task(), store, seed=0)
    assert choices_of(RECIPE.with_defense(EarlyStopping(5)), plain) == []
    assert choices_of(own_loop, plain) == []


def test_an_audit_says_whether_the_attacker_knew(tmp_path: Path, store: Store) -> None:
    settings = {"attacks": ["loss", "midpoint"], "out": Path(store.root).parent}
    known = membrane.audit(PROTECTED, task(), **settings)  # type: ignore[arg-type]
    assert known.results["entries"][0]["choices_known"] > 1
    assert "gave it to all reference models" in known.to_html(tmp_path / "page.html").read_text()
    guessed = membrane.audit(PROTECTED, task(), informed=False, **settings)  # type: ignore[arg-type]
    assert "choices_known" not in guessed.results["entries"][0]
    assert "chose a plan of its own" in guessed.to_html(tmp_path / "page.html").read_text()
