"""PAST: gamma by hand, the penalty's gradient, and that the trained model is what is tuned."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.data.loader import Batch
from membrane.defenses import PAST, Defense
from membrane.defenses.past import _Tuning, shares
from membrane.models import MLP
from membrane.regions import copy_state
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, finished, recipe_with, training


def test_gamma_by_hand() -> None:
    slopes = [torch.tensor([[1.0, -3.0], [0.0, 2.0]]), torch.tensor([2.0])]
    weight, bias = shares(slopes, 1.0)
    assert weight.tolist() == [[5 / 8, 15 / 8], [0, 10 / 8]]
    assert bias.tolist() == [10 / 8]
    weight, bias = shares(slopes, 2.0)  # 1, 9, 0, 4, 4 of 18
    assert weight.flatten().tolist() == pytest.approx([5 / 18, 45 / 18, 0, 20 / 18])
    for focus in (0.0, 0.5, 3.0):
        assert sum(float(one.sum()) for one in shares(slopes, focus)) == pytest.approx(5), "1 on average"
    assert torch.equal(shares(slopes, 0.0)[0], torch.ones(2, 2)), "plain L1"
    assert torch.equal(shares([torch.zeros(3)], 1.0)[0], torch.ones(3)), "nothing tells members from others"


def tuning(settings: PAST) -> tuple[_Tuning, Start]:
    recipe = Recipe(MLP((6,)), epochs=1, batch_size=8)
    model = fit(recipe, MEMBERS, None, 0).model
    start = Start(model, MEMBERS, HOLDOUT, recipe, 0, torch.device("cpu"))
    defense = _Tuning(settings, HOLDOUT)
    assert defense.prepared(start) is defense
    return defense, start


def test_gamma_comes_from_the_gap_of_losses() -> None:
    defense, start = tuning(PAST())
    model = start.model
    gap = sum(
        sign * F.cross_entropy(model(side.x.float() / 255), side.y) for side, sign in ((MEMBERS, -1), (HOLDOUT, 1))
    )
    layers = [list(m.parameters(recurse=False)) for m in model.modules()]
    assert len(defense.gammas) == 4
    found = {id(parameter): gamma for parameter, gamma in defense.gammas}
    for layer in filter(None, layers):
        slopes = torch.autograd.grad(gap, layer, retain_graph=True)
        for parameter, expected in zip(layer, shares(list(slopes), 1.0), strict=True):
            torch.testing.assert_close(found[id(parameter)], expected, rtol=1e-3, atol=1e-5)


def test_the_loss_and_its_gradient_by_hand() -> None:
    defense, start = tuning(PAST(weight=0.5))
    x, y = MEMBERS.x[:7].float() / 255, MEMBERS.y[:7]
    loss = defense.loss(start.model(x), Batch(x, y, torch.arange(7)), 0)
    ce = F.cross_entropy(start.model(x), y, reduction="none")
    penalty = 0.5 * sum(float((gamma * p.detach().abs()).sum()) for p, gamma in defense.gammas)
    torch.testing.assert_close(loss, ce + penalty)
    for p, gamma in defense.gammas:
        (whole,) = torch.autograd.grad(loss.mean(), p, retain_graph=True)
        (plain,) = torch.autograd.grad(ce.mean(), p, retain_graph=True)
        torch.testing.assert_close(whole, plain + 0.5 * gamma * p.detach().sign())


def test_shrinks_the_weights_of_the_trained_model() -> None:
    before = copy_state(training(Defense()).model)
    done = finished(PAST(weight=0.1, epochs=3, lr=0.01))
    after = copy_state(done.model)
    size = [sum(float(s[k].abs().sum()) for k in s if k.endswith("weight")) for s in (before, after)]
    assert size[1] < 0.9 * size[0]
    assert done.facts["tuned_epochs"] == 3
    assert training(PAST(weight=0.1)).model is not None
    slow = copy_state(finished(PAST(weight=1e-9, epochs=1, lr=1e-6)).model)
    torch.testing.assert_close(slow["head.weight"], before["head.weight"], rtol=0, atol=1e-3)


def test_refuses_to_do_without_a_holdout() -> None:
    with pytest.raises(SettingError, match=r"there are 0\. Set holdout"):
        fit(recipe_with(PAST()), MEMBERS, None, 0)
    assert PAST(weight=0).mistakes(recipe_with(Defense()), 60, 0) == []
