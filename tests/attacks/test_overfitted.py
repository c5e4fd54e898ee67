"""Every attack on real networks that have learnt by heart: it finds members, and nothing in a permuted membership."""

from __future__ import annotations

import numpy as np
import pytest

from membrane.attacks import ATTACKS, Attack, Lineup
from membrane.core.generators import torch_generator
from membrane.core.values import Bools
from membrane.data import complementary_pairs
from membrane.metrics import auc
from membrane.verbs.measure import measure
from tests.attacks import overfitted

each = pytest.mark.parametrize("place", range(len(ATTACKS)), ids=list(ATTACKS))


def scores_of(attack: Attack, membership: Bools) -> np.ndarray:
    bank, task = overfitted.bank(), overfitted.task()
    return attack.against_all(Lineup(bank.pool, membership, task.pool.y.numpy(), bank.test))


def test_all_of_them_know_their_members_by_heart() -> None:
    right = overfitted.bank().pool.correct[..., 0]
    assert right[overfitted.task().membership].min() == 1.0


@each
def test_finds_members(place: int) -> None:
    attack, task = overfitted.attacks()[place], overfitted.task()
    found = measure(overfitted.bank(), {attack.name: scores_of(attack, task.membership)}, task, seed=0)
    population = found.plain(task)["slices"]["population"]["attacks"][attack.name]["auc"]
    area = auc(found.scores[attack.name].ravel(), task.membership.ravel())
    low, high = population["low"], population["high"]
    print(f"{attack.name}: {area:.3f} in all, {population['value']:.3f} [{low:.3f}, {high:.3f}] of the population")
    assert area > 0.55
    assert population["value"] > 0.5


@each
def test_finds_nothing_in_a_permuted_membership(place: int) -> None:
    attack, task = overfitted.attacks()[place], overfitted.task()
    permuted = complementary_pairs(*task.membership.shape, torch_generator(0, "permuted"))
    assert auc(scores_of(attack, permuted).ravel(), permuted.ravel()) == pytest.approx(0.5, abs=0.06)
