"""An audit with one training: what it proves of trainings that remember, and that it proves nothing of others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import membrane
from membrane.core.errors import NotEnoughDataError, SettingError, StoreError
from membrane.data import Digits, Examples, Splits, make_task
from membrane.models import MLP
from membrane.training import Recipe
from membrane.verbs import OneRun, audit_one_run
from membrane.verbs.one_run import SHARES, flipped, guessed

N_SIMULATED = 2000


def digits() -> Splits:
    return Digits(test=297).load()


RECIPE = Recipe(model=MLP((128,)), epochs=60, lr=0.03, batch_size=50, keep=2, weight_decay=0.0)


def shares_wrong(draw: str, n_canaries: int = 200, shares: tuple[float, ...] = SHARES) -> float:
    """How often something is proven of scores that know nothing, of two attacks."""
    rng = np.random.default_rng(0)
    proven = 0
    for _ in range(N_SIMULATED):
        coins = rng.random(n_canaries) < 0.5
        scores = rng.normal(size=(2, n_canaries))
        if draw == "tied":
            scores = np.round(scores)
        if draw == "alike":
            scores[1] = scores[0] + 0.1 * scores[1]
        found = guessed({"a": scores[0], "b": scores[1]}, coins, shares, delta=0.0)
        proven += found[0].epsilon_low > 0
    return proven / N_SIMULATED


@pytest.mark.parametrize("draw", ["apart", "alike", "tied"])
def test_of_scores_that_know_nothing_something_is_proven_in_one_of_twenty_at_most(draw: str) -> None:
    """With 2 000 audits, 5 % are 100 plus or minus 10; three standard deviations above are 6.5 %."""
    assert shares_wrong(draw) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_SIMULATED)


def test_looking_at_the_best_without_sharing_the_error_proves_too_much() -> None:
    """The same scoring path at the level that each set of guesses alone is allowed."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        coins, scores = rng.random(200) < 0.5, rng.normal(size=(8, 200))
        alone = [guessed({"one": one}, coins, (share,), 0.0)[0].epsilon_low for one in scores for share in SHARES]
        wrong += max(alone) > 0
    assert wrong / 400 > 0.2


def test_epsilon_of_randomized_response_is_approached_and_not_passed() -> None:
    """Scores that tell each coin rightly with the odds of epsilon 2, independently: exactly (2, 0)-private."""
    rng, low = np.random.default_rng(2), []
    for _ in range(300):
        coins = rng.random(1000) < 0.5
        told = np.where(rng.random(1000) < 1 / (1 + np.exp(-2)), coins, ~coins)
        scores = told + 0.1 * rng.random(1000)
        low.append(guessed({"told": scores}, coins, (1.0,), 0.0)[0].epsilon_low)
    assert np.mean(np.array(low) > 2) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.median(low) > 1.75


def test_each_set_of_guesses_shares_the_error_and_the_best_comes_first() -> None:
    coins = np.arange(100) % 2 == 0
    found = guessed({"knows": coins.astype(float) + np.linspace(0, 0.1, 100), "ties": np.zeros(100)}, coins, SHARES)
    assert [one.attack for one in found[:3]] == ["knows"] * 3
    assert [one.audit for one in found[3:]] == [None] * 3
    assert all(one.audit.n_audits == 6 for one in found[:3] if one.audit)
    assert found[0].share == 1.0
    assert found[0].audit is not None
    assert (found[0].audit.n_correct, found[0].audit.n_guesses) == (100, 100)


def test_coins_are_fair_independent_and_of_canaries_alone() -> None:
    task = make_task(digits(), n_models=2, pool=1500, holdout=0, canaries=1000, seed=0)
    coins = np.array([flipped(task, seed).membership[0] for seed in range(40)])
    others = np.setdiff1d(np.arange(1500), task.canaries)
    assert coins[:, others].all()
    share = coins[:, task.canaries].mean(1)
    assert abs(share.mean() - 0.5) < 4 * 0.5 / np.sqrt(40_000)
    assert 0.5 < share.std() / (0.5 / np.sqrt(1000)) < 1.5  # halves of a fixed size would not vary


def test_a_network_that_learns_by_heart_is_found_out(tmp_path: Path) -> None:
    found = membrane.audit_one_run(
        RECIPE, digits(), pool=900, canaries=300, attacks=["loss", "confidence"], delta=0.0, out=tmp_path
    )
    assert found.epsilon_low > 2
    assert "Epsilon is above" in found.verdict[0]
    assert found.results["accuracy"]["n"] == 297
    assert 0 < found.results["accuracy"]["low"] < found.results["accuracy"]["high"] < 1
    assert len(found.results["audits"]) == 6
    read = OneRun.load(tmp_path)
    assert read.results == found.results
    assert read.verdict == found.verdict
    assert (tmp_path / "scores.safetensors").is_file()
    again = audit_one_run(
        RECIPE, digits(), pool=900, canaries=300, attacks=["loss", "confidence"], delta=0.0, out=tmp_path
    )
    assert again.results == found.results
    assert again.results["settings"]["train"]["epochs"] == 60
    np.testing.assert_array_equal(again.scores["loss"], found.scores["loss"])
    assert found.is_member.shape == (300,)


class Ignorant(nn.Module):
    """Answers by nothing but the input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * x.flatten(1)[:, 20:30]


def test_nothing_is_proven_of_a_model_that_never_saw_its_members() -> None:
    """One audit from end to end, then its scores against coins as an audit draws them under other seeds."""

    def ignore(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
        return Ignorant()

    found = audit_one_run(ignore, digits(), pool=900, canaries=300)
    assert found.epsilon_low < 0.1
    task = make_task(digits(), n_models=2, pool=900, holdout=0, canaries=300, seed=0)
    coins = [flipped(task, seed).membership[0, task.canaries] for seed in range(N_SIMULATED)]
    np.testing.assert_array_equal(coins[0], found.is_member)
    proven = np.mean([guessed(found.scores, one)[0].epsilon_low > 0 for one in coins])
    assert proven <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_SIMULATED)


def test_attacks_that_are_read_beyond_signals_are_fed() -> None:
    found = audit_one_run(
        dataclasses.replace(RECIPE, epochs=20),
        digits(),
        pool=600,
        canaries=200,
        attacks=["max_posterior", "gradient_norm"],
    )
    assert {one["attack"] for one in found.results["audits"]} == {"max_posterior", "gradient_norm"}


def test_a_promise_that_is_broken_is_said() -> None:
    results = {
        "bound": {"epsilon_low": 3.0, "attack": "loss", "n_correct": 9, "n_guesses": 9, "n_canaries": 9},
        "settings": {"level": 0.95, "delta": 0.0},
        "audits": [{}],
        "facts": {"epsilon": 1.0},
        "limits": [],
    }
    assert "promises 1, which this contradicts" in OneRun(results).verdict[1]
    results["facts"] = {"epsilon": 8.0}
    assert "promises 8, which this agrees with" in OneRun(results).verdict[1]


def never(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
    raise AssertionError("trained before it was checked")


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"canaries": 0}, SettingError, "canaries is 0"),
        ({"shares": ()}, SettingError, "name one or more"),
        ({"shares": (0.5, 1.5)}, SettingError, "at most 1"),
        ({"shares": (0.0,)}, SettingError, "above 0"),
        ({"delta": 0.01}, SettingError, "delta is 0.01"),
        ({"level": 1.0}, SettingError, "level"),
        ({"attacks": ["lira"]}, NotEnoughDataError, "lira"),
        ({"attacks": ["nonsense"]}, SettingError, "nonsense"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    settings: dict[str, object], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        audit_one_run(never, digits(), **{"pool": 900, "canaries": 300, **settings})  # type: ignore[arg-type]


def test_results_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"format": "membrane results 1"}')
    with pytest.raises(StoreError, match="no audit with one training"):
        OneRun.load(tmp_path)
