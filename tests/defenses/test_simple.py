"""L2, dropout, early stopping's neighbours: defenses of one line, each against that line written out."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from membrane.core.generators import derive_seed, layer_stream, torch_generator
from membrane.defenses import L2, Defense, Dropout
from membrane.defenses.dropout import _dropped
from membrane.models import MLP
from membrane.regions import copy_state
from membrane.training import Recipe, fit
from tests.defenses.questions import MEMBERS
from tests.training.jobs import weight_bits

ONE_UPDATE = Recipe(MLP((8,)), epochs=1, batch_size=60, lr=0.1, momentum=0.0, weight_decay=0.0)


def first_weights() -> torch.nn.Module:
    return ONE_UPDATE.model.build(MEMBERS, torch_generator(0, "weights"))


@pytest.mark.parametrize("decay", [0.0, 0.05, 2.0])
def test_l2_adds_the_gradient_of_half_the_squared_norm(decay: float) -> None:
    done = fit(dataclasses.replace(ONE_UPDATE, defense=L2(decay)), MEMBERS, None, 0).model
    model = first_weights().train()
    loss = F.cross_entropy(model(MEMBERS.x.float() / 255), MEMBERS.y)
    loss = loss + decay / 2 * sum(p.square().sum() for p in model.parameters())
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    for found, before, slope in zip(done.parameters(), model.parameters(), slopes, strict=True):
        torch.testing.assert_close(found.detach(), before.detach() - 0.1 * slope, rtol=1e-4, atol=1e-6)


def test_l2_never_lowers_the_recipes_own() -> None:
    plan = dataclasses.replace(ONE_UPDATE, weight_decay=0.3)
    assert L2(0.1).adapt(plan).weight_decay == 0.3
    assert L2(0.5).adapt(plan).weight_decay == 0.5
    bits = [weight_bits(fit(plan.with_defense(one), MEMBERS, None, 0).model) for one in (L2(0.1), Defense())]
    assert bits[0] == bits[1]


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    x = torch.full((200, 300), 3.0)
    with layer_stream(0):
        (out, rest) = _dropped((x, x), 0.4, training=True)
    dropped = (out == 0).double().mean()
    assert dropped.item() == pytest.approx(0.4, abs=4 * (0.24 / x.numel()) ** 0.5)
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 3 / 0.6))
    assert rest is x, "whatever else the layer takes stays"
    assert torch.equal(_dropped((x,), 0.4, training=False)[0], x), "nothing is dropped once it answers"


def test_dropout_acts_on_what_the_last_layer_reads_and_is_gone_afterwards() -> None:
    plan = dataclasses.replace(ONE_UPDATE, defense=Dropout(0.5))
    done = fit(plan, MEMBERS, None, 0).model
    assert not any(module._forward_pre_hooks for module in done.modules())
    model = first_weights().train()
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    order = torch.randperm(60, generator=torch_generator(0, "order"))
    with layer_stream(derive_seed(0, "layers")):
        first_weights()  # what building draws
        hook = head.register_forward_pre_hook(lambda _, inputs: (F.dropout(inputs[0], 0.5),))
        loss = F.cross_entropy(model(MEMBERS.x[order].float() / 255), MEMBERS.y[order])
    hook.remove()
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    state = copy_state(done)
    for (name, before), slope in zip(model.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(state[name], before.detach() - 0.1 * slope, rtol=1e-4, atol=1e-6)
