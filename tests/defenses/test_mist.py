"""MIST: how members are dealt, the cross-difference by hand, and a whole epoch of it the slow way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from membrane.core.generators import derive_seed, layer_stream, torch_generator
from membrane.data.loader import batches_of
from membrane.defenses import MIST, Defense
from membrane.defenses.mist import PartBatch, PartLoader, cross_difference
from membrane.models import MLP
from membrane.regions import copy_state
from membrane.training import Recipe, fit
from tests.defenses.questions import MEMBERS, recipe_with


def test_members_are_dealt_into_disjoint_parts_of_equal_size() -> None:
    loader = PartLoader(MEMBERS, 8, parts=3)
    batches = list(loader.epoch(torch_generator(0)))
    assert len(batches) == len(loader)
    assert torch.cat([batch.index for batch in batches]).sort().values.tolist() == list(range(60))
    sizes = [0, 0, 0]
    for batch in batches:
        assert isinstance(batch, PartBatch)
        assert torch.equal(batch.y, MEMBERS.y[batch.index])
        sizes[batch.part] += len(batch.y)
    assert sizes == [20, 20, 20]
    parts = [batch.part for batch in batches if isinstance(batch, PartBatch)]
    assert parts == sorted(parts), "one after the other"


def test_cross_difference_by_hand_and_its_gradient() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[[0.4, 0.3, 0.3], [0.0, 1.0, 0.0]], [[0.5, 0.1, 0.4], [0.8, 0.1, 0.1]]], dtype=torch.float64)
    assert cross_difference(p, others).tolist() == pytest.approx([(0.2 + 0.4) / 2, (2.0 + 0.4) / 2])
    z = torch.randn(2, 3, dtype=torch.float64, generator=torch_generator(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: cross_difference(torch.softmax(one, 1), others), z)


def by_hand(plan: Recipe, defense: MIST) -> dict[str, torch.Tensor]:
    """One epoch, every copy a model of its own."""
    with layer_stream(derive_seed(0, "layers"), torch.device("cpu")):
        model = plan.model.build(MEMBERS, torch_generator(0, "weights"))
        order = torch.randperm(60, generator=torch_generator(0, "order"))
        parts = [batches_of(order[i :: defense.parts], plan.batch_size) for i in range(defense.parts)]
        n, step, copies = sum(map(len, parts)), 0, []
        for part in parts:
            one = copy.deepcopy(model).train()
            optimizer = sgd(one, plan)
            for index in part:
                optimizer.param_groups[0]["lr"] = plan.lr_at(step, n)
                x, y = MEMBERS.x[index].float() / 255, MEMBERS.y[index]
                optimizer.zero_grad()
                F.cross_entropy(one(x), y).backward()
                optimizer.step()
                step += 1
            copies.append(one)
        with torch.no_grad():
            answers = [torch.softmax(one.eval()(MEMBERS.x.float() / 255), 1) for one in copies]
        for i, (one, part) in enumerate(zip(copies, parts, strict=True)):
            optimizer = sgd(one.train(), plan)
            optimizer.param_groups[0]["lr"] = plan.lr_at(n - 1, n)
            for index in part:
                p = torch.softmax(one(MEMBERS.x[index].float() / 255), 1)
                apart = sum((p - a[index]).abs().sum(1).mean() for j, a in enumerate(answers) if j != i)
                optimizer.zero_grad()
                (defense.weight / (defense.parts - 1) * apart).backward()
                optimizer.step()
    states = [copy_state(one) for one in copies]
    return {key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]}


def sgd(model: nn.Module, plan: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), plan.lr, plan.momentum, weight_decay=plan.weight_decay, nesterov=plan.momentum > 0
    )


@pytest.mark.parametrize("parts", [2, 3])
def test_an_epoch_is_what_the_slow_way_gives(parts: int) -> None:
    defense = MIST(parts, 2.0)
    plan = Recipe(MLP((8,)), epochs=1, batch_size=8, lr=0.1, defense=defense)
    found = copy_state(fit(plan, MEMBERS, None, 0).model)
    for key, expected in by_hand(plan, defense).items():
        torch.testing.assert_close(found[key], expected, rtol=1e-4, atol=1e-5)


def test_trains_the_same_twice_and_refuses_too_few_members() -> None:
    plan = Recipe(**{**vars(recipe_with(MIST(3))), "epochs": 2})
    one, two = (copy_state(fit(plan, MEMBERS, None, 0).model) for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert len(MIST(40).mistakes(recipe_with(Defense()), 60, 0)) == 1
