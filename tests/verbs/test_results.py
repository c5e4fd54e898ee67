from __future__ import annotations

import numpy as np
import pytest

from membrane.attacks import ATTACKS
from membrane.core.errors import DataError
from membrane.metrics import leakage_difference
from membrane.verbs.against import against_baseline
from membrane.verbs.measure import Measurement
from membrane.verbs.privacy import epsilon, facts_of
from membrane.verbs.tier import tier_of
from tests.verbs.test_measure import K, measurement, task


def with_canaries(leak: float) -> Measurement:
    return measurement(0.2, canary_leak=leak)


def test_a_change_against_the_baseline_is_paired_and_has_a_sign() -> None:
    base, ours = measurement(1.0), measurement(0.3)
    (found,) = against_baseline({"undefended": base, "ours": ours}, "undefended")
    assert (found["entry"], found["baseline"]) == ("ours", "undefended")
    population = found["slices"]["population"]
    assert population["attacks"] == ["planted", "planted"]
    expected = leakage_difference(
        ours.scores["planted"], base.scores["planted"], ours.is_member, mask=ours.slice("population").mask
    )
    assert population["auc"]["value"] == pytest.approx(-expected.value)
    assert (population["auc"]["low"], population["auc"]["high"]) == pytest.approx((-expected.high, -expected.low))
    assert population["auc"]["high"] < 0
    assert [one["fpr"] for one in population["tpr"]] == [0.1, 0.01]
    assert found["accuracy"]["value"] == 0
    assert against_baseline({"ours": ours}, None) == []


def test_canaries_that_are_learned_by_heart_bound_epsilon_and_others_do_not() -> None:
    leaking, quiet = with_canaries(8.0), measurement(0.0)
    canaries = np.arange(K)
    found = epsilon(leaking.scores, leaking.is_member, canaries)
    assert found["low"] > 1
    assert found["n_correct"] == found["n_guesses"] > 10
    assert found["n_couples"] <= K // 2
    assert epsilon(quiet.scores, quiet.is_member, canaries)["low"] < 0.5
    assert "couples" in epsilon(quiet.scores, quiet.is_member, canaries[:6])["refused"]
    assert "delta" in epsilon(quiet.scores, quiet.is_member, canaries, delta=0.3)["refused"]


def test_facts_are_told_once_for_all_models() -> None:
    models = [{"epsilon": 3.0, "epoch": 4 + i, "output": "labels", "choice": {}, "seconds": 1.0} for i in range(3)]
    assert facts_of(models) == {
        "epsilon": 3.0,
        "epoch": {"mean": 5.0, "low": 4, "high": 6},
        "output": "labels",
    }
    assert facts_of([{"a": "x"}, {"a": "y"}]) == {"a": "differs from model to model"}
    assert facts_of([{}, {}]) == {}


@pytest.mark.parametrize(
    ("n_each", "name", "models"),
    [(0, "no references", 4), (1, "few references", 66), (31, "few references", 66), (32, "many references", None)],
)
def test_the_tier_says_what_the_next_one_takes(n_each: int, name: str, models: int | None) -> None:
    found = tier_of([ATTACKS.make("loss")], 2 * n_each, n_each)
    assert (found["name"], found["weights"]) == (name, False)
    assert (found["next"] or {}).get("models") == models
    white = tier_of([ATTACKS.make("loss"), ATTACKS.make("gradient_norm")], 2 * n_each, n_each)
    assert (white["name"], white["unread"]) == (f"{name}, weights", None)


def test_subgroups_are_compared_like_classes_and_may_not_take_their_names() -> None:
    one = task().grouped({"odd": lambda pool: pool.x[:, 0] % 2 == 1})
    assert [group.name for group in one.groups] == ["class a", "class b", "class c", "odd"]
    assert one.groups[-1].size == len(one.pool) // 2
    assert one.checksum() == task().checksum()
    with pytest.raises(DataError, match="2 slices are named 'class a'"):
        task().grouped({"class a": lambda pool: pool.y == 0})
    with pytest.raises(DataError, match="covers 3 examples"):
        task().grouped({"few": lambda _: np.ones(3, dtype=bool)})
    with pytest.raises(DataError, match="must be bool"):
        task().grouped({"scores": lambda pool: pool.x[:, 0]})
