from __future__ import annotations

import numpy as np
import pytest
import torch

from membrane.core import SIGNAL_KINDS, Signals
from membrane.core.generators import torch_generator
from membrane.data import Examples, Task, complementary_pairs
from membrane.metrics import auc, share_interval
from membrane.training import Bank
from membrane.verbs.measure import Measurement, measure

R, N, Z, K = 8, 600, 200, 100


def task() -> Task:
    x = torch.arange(N, dtype=torch.float32)[:, None]
    pool = Examples(x, torch.arange(N) % 3, ("a", "b", "c"))
    other = Examples(torch.arange(Z, dtype=torch.float32)[:, None] - 1000, torch.arange(Z) % 3, ("a", "b", "c"))
    return Task(pool, complementary_pairs(R, N, torch_generator(0)), np.arange(K), other, other)


def measurement(leak: float, canary_leak: float = 0.0, seed: int = 0) -> Measurement:
    generator = np.random.default_rng(seed)
    one = task()
    scores = generator.normal(size=(R, N)) + leak * one.membership
    scores[:, :K] += canary_leak * one.membership[:, :K]

    def signals(n: int) -> Signals:
        return Signals(**dict.fromkeys(SIGNAL_KINDS, np.ones((R, n, 1), np.float32)))

    return measure(Bank(signals(N), signals(Z), ({},) * R), {"planted": scores}, one, seed=0, n_resamples=100)


def test_the_slices_are_measured_apart() -> None:
    plain = measurement(0.5, canary_leak=3.0).plain(task())
    population, canaries = plain["slices"]["population"], plain["slices"]["canaries"]
    assert canaries["attacks"]["planted"]["auc"]["value"] > 0.98
    assert 0.6 < population["attacks"]["planted"]["auc"]["value"] < 0.68
    assert population["n_members"] + population["n_non_members"] == R * (N - K)
    assert canaries["n_members"] == canaries["n_non_members"] == R * K / 2


def test_values_are_those_of_the_metrics() -> None:
    found = measurement(1.0)
    mask = np.arange(N) >= K
    expected = auc(found.scores["planted"][:, mask].ravel(), found.is_member[:, mask].ravel())
    assert found.plain(task())["slices"]["population"]["attacks"]["planted"]["auc"]["value"] == expected


def test_no_leak_is_a_half_within_its_interval() -> None:
    areas = [measurement(0.0, seed=seed).leakage("planted", "population") for seed in range(40)]
    assert sum(not share_interval(area).excludes(0.5) for area in areas) >= 34


def test_draws_are_the_same_for_all_measured_under_one_seed() -> None:
    one, other = measurement(0.5), measurement(1.0, seed=1)
    np.testing.assert_array_equal(one.draws.model_counts, other.draws.model_counts)
    np.testing.assert_array_equal(one.accuracy_replicates, other.accuracy_replicates)
    assert one.auc_replicates("planted", "population").std() > 0


def test_risk_and_groups_are_found_where_they_were_planted() -> None:
    plain = measurement(0.0, canary_leak=8.0).plain(task())
    assert plain["risk"]["slice"] == "population"
    assert plain["risk"]["fpr"] == 0.1
    assert plain["risk"]["by_all"]["value"] < 0.01
    by = plain["exposed"][0]["by"]
    assert (by["models"]["n"], by["others"]) == (R / 2, R / 2)
    assert by["models"]["successes"] == R / 2
    assert [one["name"] for one in plain["groups"]["compared"]] == ["class a", "class b", "class c"]
    assert min(one["adjusted"] for one in plain["groups"]["compared"]) > 0.01


def test_rates_are_refused_where_the_sample_cannot_resolve_them() -> None:
    rates = measurement(1.0).plain(task())["slices"]["canaries"]["attacks"]["planted"]["tpr"]
    assert [("value" in rate, "refused" in rate) for rate in rates] == [(True, False), (False, True), (False, True)]
    assert "1000" in rates[1]["refused"]
    assert rates[0]["n"] == R * K / 2


def test_the_most_exposed_records_are_the_planted_ones() -> None:
    exposed = measurement(0.0, canary_leak=8.0).plain(task())["exposed"]
    assert {record["slice"] for record in exposed} == {"canaries"}
    assert all(record["caught"] > 0.95 and record["n_targets"] == R / 2 for record in exposed)
    assert [record["caught"] for record in exposed] == sorted((r["caught"] for r in exposed), reverse=True)


@pytest.mark.parametrize("leak", [0.0, 2.0])
def test_the_drawn_curve_is_part_of_the_exact_one(leak: float) -> None:
    from membrane.metrics import roc

    found = measurement(leak)
    curve = found.plain(task())["slices"]["population"]["attacks"]["planted"]["roc"]
    mask = np.arange(N) >= K
    exact = roc(found.scores["planted"][:, mask].ravel(), found.is_member[:, mask].ravel())
    assert set(zip(curve["fpr"], curve["tpr"], strict=True)) <= set(
        zip(exact.fpr.tolist(), exact.tpr.tolist(), strict=True)
    )
    assert (curve["fpr"][0], curve["tpr"][-1]) == (0.0, 1.0)
    assert len(curve["fpr"]) <= 242
