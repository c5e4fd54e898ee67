"""What estimators compute, against the same written the slow way."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from membrane.core import SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.metrics import auc
from membrane.models import ViT, logits_of
from membrane.pptp import LOCATORS, Subject, fork_twins
from membrane.pptp.locators.depth_readout import region_outputs
from membrane.pptp.locators.gap_allocation import allocated, grown, history
from membrane.pptp.locators.gradients import Gradients, losses, probabilities, squared_norm
from membrane.pptp.locators.twin_swap import antithetic, measure_hybrids, shapley_weights
from membrane.pptp.locators.twins import Twins
from membrane.regions import copy_state, load_state, partition
from tests.pptp.planted import ordinary, planted
from tests.small import probe, trained


def test_shapley_values_are_those_of_all_orders() -> None:
    generator = numpy_generator(0, "game")
    worth = {mask: generator.standard_normal() for mask in range(16)}
    orders = list(itertools.permutations(range(4)))
    slow = np.zeros(4)
    for order in orders:
        mask = 0
        for player in order:
            slow[player] += (worth[mask | 1 << player] - worth[mask]) / len(orders)
            mask |= 1 << player
    for given in (None, np.array(orders)):
        masks, weights = shapley_weights(4, given)
        assert weights @ np.array([worth[mask] for mask in masks]) == pytest.approx(slow)


def test_antithetic_orders_come_with_their_reverse_and_keep_the_sum() -> None:
    orders = antithetic(6, 10, numpy_generator(0))
    assert (orders[::2] == orders[1::2, ::-1]).all()
    masks, weights = shapley_weights(6, orders)
    worth = numpy_generator(1).standard_normal(64)
    whole = worth[63] - worth[0]
    assert (weights @ worth[masks]).sum() == pytest.approx(whole)


def twins_of(subject: Subject) -> Twins:
    assert subject.twins is not None
    return subject.twins


def test_mirrors_say_the_opposite_and_shares_add_up() -> None:
    subject = planted("hidden2")
    masks = list(range(8))
    measured = measure_hybrids(twins_of(subject), subject.probe, masks)
    assert measured.differences[5] == pytest.approx(-measured.differences[2])
    labels = np.arange(measured.differences.shape[1]) < len(twins_of(subject).of_first)
    whole = auc(measured.differences[7], labels)
    assert auc(measured.differences[0], labels) == pytest.approx(1 - whole)
    for settings in ({"name": "twin_swap"}, {"name": "twin_swap", "exact": 2}):
        risk_map = LOCATORS.make(settings).locate(subject, torch_generator(0))
        assert sum(region.leakage_drop.value for region in risk_map.regions) == pytest.approx(2 * whole - 1)


def test_twins_see_the_same_but_for_what_is_their_own() -> None:
    subject, _ = ordinary()
    twins = fork_twins(subject, 3, torch_generator(0))
    assert len(twins.of_first) == len(twins.of_second) == 150
    assert len(twins.common) == 350
    assert any(not torch.equal(twins.first[key], twins.second[key]) for key in twins.first)
    learnt = []
    for state, own in ((twins.first, twins.of_first), (twins.second, twins.of_second)):
        model = copy.deepcopy(subject.probe.model)
        load_state(model, state)
        learnt.append([float(probabilities(logits_of(model, one), one.y).mean()) for one in (own, twins.unseen)])
    assert all(own > unseen + 0.02 for own, unseen in learnt)
    with pytest.raises(SettingError, match="cannot fork after epoch 29 of 30"):
        fork_twins(subject, 29, torch_generator(0))


def test_allocated_growth_adds_up_to_what_grew() -> None:
    """BatchNorm's statistics move along the path and have their share, or this would not close."""
    one = probe()
    states = list(history(one).values())
    part = one.members[:100]
    shares = allocated(one, states, part, batch=50)
    growth = grown(one, states, part)
    assert abs(growth) > 0.2
    assert shares.sum(1).mean() == pytest.approx(growth, abs=0.05)


def test_a_regions_share_of_a_short_step_is_the_change_it_makes_alone() -> None:
    one = probe()
    first, last = list(history(one).values())[-2:]
    near = {k: first[k] + 0.01 * (last[k] - first[k]) if first[k].is_floating_point() else first[k] for k in first}
    part = one.members[:50]
    shares = allocated(one, [dict(first), near], part, batch=50)[0]
    start = grown_to(dict(first), part)
    for region, share in zip(one.partition.regions, shares, strict=True):
        moved = {key: (near if key in region.keys else first)[key] for key in first}
        assert grown_to(moved, part) - start == pytest.approx(share, abs=2e-5)


def grown_to(state: dict[str, torch.Tensor], part: object) -> float:
    return grown(probe(), [probe().final, state], part)  # type: ignore[arg-type]


def test_gradients_of_single_examples_are_those_of_a_loop() -> None:
    one = probe()
    gradients = Gradients(one.model, one.partition)
    part = one.members[:6]
    fast = gradients.of_examples(one.final, part, losses, squared_norm)
    model = copy.deepcopy(one.model).eval()
    for i in range(len(part)):
        model.zero_grad()
        F.cross_entropy(model(part.x[i : i + 1].float() / 255), part.y[i : i + 1]).backward()
        slow = [
            sum(float(p.grad.square().sum()) for key, p in model.named_parameters() if key in region.keys)  # type: ignore[union-attr]
            for region in one.partition.regions
        ]
        assert fast[i] == pytest.approx(slow, rel=1e-3, abs=1e-12)


def test_a_transformers_examples_have_gradients_of_their_own() -> None:
    """Fused attention has none for single examples; without a warning of it, since warnings are errors here."""
    part = trained().members[:3]
    model = ViT(patch=2, width=16, depth=2, heads=2).build(part, torch_generator(0)).eval()
    cut = partition(model, part.x[:2].float())
    fast = Gradients(model, cut).of_examples(copy_state(model), part, losses, squared_norm)
    for i in range(len(part)):
        model.zero_grad()
        F.cross_entropy(model(part.x[i : i + 1].float() / 255), part.y[i : i + 1]).backward()
        slow = [
            sum(float(p.grad.square().sum()) for key, p in model.named_parameters() if key in region.keys)  # type: ignore[union-attr]
            for region in cut.regions
        ]
        assert fast[i] == pytest.approx(slow, rel=1e-3)


def test_a_batchs_gradient_is_the_mean_and_a_rest_is_left_out() -> None:
    one = probe()
    gradients = Gradients(one.model, one.partition)
    found = list(gradients.of_batches(one.final, one.members[:25], 10, losses))
    assert len(found) == 2
    model = copy.deepcopy(one.model).eval()
    F.cross_entropy(model(one.members.x[:10].float() / 255), one.members.y[:10]).backward()
    for key, parameter in model.named_parameters():
        assert torch.allclose(found[0][key], parameter.grad, atol=1e-5)  # type: ignore[arg-type]


def test_fisher_ratio_is_the_ratio_of_mean_squares() -> None:
    subject, _ = ordinary()
    one = subject.probe
    risk_map = LOCATORS.make({"name": "fisher_ratio", "examples": 60}).locate(subject, torch_generator(0))
    gradients = Gradients(one.model, one.partition)
    mine, theirs = (
        gradients.of_examples(one.final, part[:60], losses, squared_norm).mean(0) for part in (one.members, one.search)
    )
    assert [region.leakage_drop.value for region in risk_map.regions] == pytest.approx(np.log(theirs / mine).tolist())


def test_past_is_the_mean_absolute_gradient_of_the_gap() -> None:
    subject, _ = ordinary()
    one = subject.probe
    risk_map = LOCATORS.make({"name": "past", "batches": 10}).locate(subject, torch_generator(0))
    model = copy.deepcopy(one.model).eval()
    n = 10 * (len(one.members) // 10)
    loss = [F.cross_entropy(model(part.x[:n].float() / 255), part.y[:n]) for part in (one.members, one.search)]
    (loss[1] - loss[0]).backward()
    grads = dict(model.named_parameters())
    slow = [
        float(torch.cat([grads[k].grad.abs().flatten() for k in region.keys if k in grads]).mean())  # type: ignore[union-attr]
        for region in one.partition.regions
    ]
    assert [region.leakage_drop.value for region in risk_map.regions] == pytest.approx(slow, rel=1e-3)


def test_the_last_regions_output_are_the_logits_and_increments_add_up() -> None:
    one = trained()
    outputs = region_outputs(one.model, probe().partition, one.members[:50])
    assert torch.equal(outputs[-1], logits_of(one.model, one.members[:50]))
    assert [len(output) for output in outputs] == [50] * 5
    assert [output.shape[1] for output in outputs] == [8, 8, 16, 32, 10]


def test_an_intervention_says_what_it_costs_before_and_after_the_refit() -> None:
    risk_map = LOCATORS.make("intervention").locate(ordinary()[0], torch_generator(0))
    assert risk_map.window is not None
    for region in risk_map.regions:
        assert region.accuracy_change is not None
        assert region.unrecovered is not None
