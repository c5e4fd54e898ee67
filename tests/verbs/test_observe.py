from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from membrane.attacks import ATTACKS, LossThreshold
from membrane.core import SIGNAL_KINDS, DataError, NotEnoughDataError, Observation, Signals
from membrane.core.generators import torch_generator
from membrane.data import complementary_pairs
from membrane.data.membership import references_each
from membrane.training import Bank
from membrane.verbs.observe import choose_attacks, observe, score_bank


def bank(n_models: int = 6, n: int = 40, z: int = 120) -> Bank:
    """Every number says whose it is: model * 1000 + example."""

    def signals(count: int) -> Signals:
        values = (np.arange(n_models)[:, None] * 1000.0 + np.arange(count))[..., None].astype(np.float32)
        return Signals(**dict.fromkeys(SIGNAL_KINDS, values))

    return Bank(signals(n), signals(z), ({},) * n_models)


def test_the_attacker_sees_all_models_but_the_target_and_its_partner() -> None:
    membership = complementary_pairs(6, 40, torch_generator(0))
    seen = observe(bank(), membership, np.zeros(40, np.int64), target=3)
    assert set(seen.target.loss[:, 0] // 1000) == {3}
    assert [set(row[:, 0] // 1000) for row in seen.reference.loss] == [{0}, {1}, {4}, {5}]
    assert [set(row[:, 0] // 1000) for row in seen.population_reference.loss] == [{0}, {1}, {4}, {5}]
    assert np.array_equal(seen.in_reference, membership[[0, 1, 4, 5]])
    assert set(seen.n_in) == set(seen.n_out) == {2}


def test_an_observation_has_no_place_for_the_targets_membership() -> None:
    names = {field.name for field in dataclasses.fields(Observation)}
    assert names == {"target", "reference", "in_reference", "labels", "population", "population_reference"}


def test_each_model_plays_target_once() -> None:
    membership = complementary_pairs(6, 40, torch_generator(0))
    scores = score_bank(bank(), membership, np.zeros(40, np.int64), [LossThreshold()])
    assert scores["loss"].shape == (6, 40)
    assert np.array_equal(scores["loss"], -bank().pool.loss[..., 0])


def test_models_that_are_no_complementary_pairs_are_refused() -> None:
    membership = complementary_pairs(6, 40, torch_generator(0))[[0, 2, 1, 3, 4, 5]]
    with pytest.raises(DataError, match="complementary"):
        score_bank(bank(), membership, np.zeros(40, np.int64), [LossThreshold()])


def test_an_audit_that_names_no_attacks_leaves_out_those_made_of_others() -> None:
    chosen = {attack.name for attack in choose_attacks(None, 10, 10, 500)}
    assert chosen == {name for name in ATTACKS if ATTACKS.entry(name).by_default}
    assert [attack.name for attack in choose_attacks(["ensemble"], 10, 10, 500)] == ["ensemble"]
    with pytest.raises(NotEnoughDataError, match="'ensemble' needs 2 IN"):
        choose_attacks(["ensemble"], 1, 1, 500)


def test_what_a_bank_cannot_feed_is_refused_all_at_once() -> None:
    attacks = [ATTACKS.make(name) for name in ATTACKS]
    with pytest.raises(NotEnoughDataError) as refusal:
        choose_attacks(attacks, references_each(2), references_each(2), 3)
    assert "lira" in str(refusal.value)
    assert "rmia" in str(refusal.value)
