"""NeuGuard: both terms by hand, means that go on through training, and which layers it reads."""

from __future__ import annotations

import pytest
import torch

from membrane.core.generators import torch_generator
from membrane.data.loader import Batch
from membrane.defenses import Defense, NeuGuard
from membrane.defenses.neuguard import ClassMeans, _Guarding, imbalance
from membrane.models import MLP
from membrane.training import Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.defenses.test_losses import CE, LOGITS, P, Y

BATCH = Batch(torch.zeros(3, 1), Y, torch.arange(3))


def guarding(settings: NeuGuard, widths: tuple[int, ...] = (6, 4)) -> _Guarding:
    recipe = recipe_with(settings)
    model = MLP(widths).build(MEMBERS, torch_generator(0))
    defense = settings.prepared(Start(model, MEMBERS, HOLDOUT, recipe, 0, torch.device("cpu")))
    assert isinstance(defense, _Guarding)
    return defense


def test_imbalance_by_hand() -> None:
    layer = torch.tensor([[1.0, 2.0, 3.0, 5.0], [0.0, 4.0, 1.0, 3.0]])
    assert imbalance(layer).tolist() == [(3 - 8) ** 2 / 4, 0.0]
    assert imbalance(layer[:, :3]).tolist() == pytest.approx([(1 - 5) ** 2 / 3, (0 - 5) ** 2 / 3]), "the middle counts"


def test_means_go_on_from_batch_to_batch() -> None:
    means = ClassMeans(2, torch.device("cpu"))
    first = means.seen(torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(first, torch.tensor([[0.7, 0.3], [0.7, 0.3], [0.5, 0.5]]))
    second = means.seen(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
    torch.testing.assert_close(second, torch.tensor([[0.5, 0.5]]))


def test_the_loss_by_hand_in_two_batches() -> None:
    defense = guarding(NeuGuard(0.2, 3.0))
    halves = [(z[0] - z[1] - z[2]) ** 2 / 3 for z in LOGITS.tolist()]
    alone = defense.loss(LOGITS, BATCH, 0)  # each of the three has its class to itself, so it is its mean
    assert alone.tolist() == pytest.approx([ce + 0.2 * one for ce, one in zip(CE, halves, strict=True)])
    again = defense.loss(LOGITS.flip(0), BATCH, 1)  # now the mean is that of both
    apart = [sum(((a + b) / 2 - b) ** 2 for a, b in zip(*rows, strict=True)) for rows in zip(P, P[::-1], strict=True)]
    ce = torch.nn.functional.cross_entropy(LOGITS.flip(0), Y, reduction="none").tolist()
    expected = [c + 0.2 * h + 3 * a for c, h, a in zip(ce, halves[::-1], apart, strict=True)]
    assert again.tolist() == pytest.approx(expected)


def test_gradients_of_a_fresh_batch() -> None:
    y = torch.tensor([0, 0, 1])
    batch = Batch(torch.zeros(3, 1), y, torch.arange(3))
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch_generator(0), requires_grad=True)
    p = torch.softmax(logits.detach(), 1)
    still = torch.stack([p[:2].mean(0), p[:2].mean(0), p[2]])  # the means get no gradient

    def by_hand(z: torch.Tensor) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(z, y, reduction="none") + 0.2 * imbalance(z)
        return loss + 3 * (torch.softmax(z, 1) - still).square().sum(1)

    (found,) = torch.autograd.grad(guarding(NeuGuard(0.2, 3.0)).loss(logits, batch, 0).sum(), logits)
    (expected,) = torch.autograd.grad(by_hand(logits).sum(), logits)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(by_hand, logits)


def test_reads_every_hidden_layer_as_the_next_one_does() -> None:
    recipe = recipe_with(NeuGuard())
    model = MLP((6, 4)).build(MEMBERS, torch_generator(0))
    defense = NeuGuard(1.0, 0.0).prepared(Start(model, MEMBERS, HOLDOUT, recipe, 0, torch.device("cpu")))
    assert isinstance(defense, _Guarding)
    x, y = MEMBERS.x[:5].float() / 255, MEMBERS.y[:5]
    logits = model(x)
    assert [layer.shape[1] for layer in defense.layers] == [6, 4]
    expected = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    for layer in (*defense.layers, logits):
        expected = expected + imbalance(layer)
    torch.testing.assert_close(defense.loss(logits, Batch(x, y, torch.arange(5)), 0), expected)
    defense.batch(BATCH, 0, torch_generator(0))
    assert defense.layers == []


def test_training_balances_layers_evens_answers_and_takes_its_hooks_away() -> None:
    def measured(defense: Defense) -> tuple[float, float]:
        plan = recipe_with(defense)
        model = fit(type(plan)(**{**vars(plan), "model": MLP((16,))}), MEMBERS, None, 0).model
        assert not any(module._forward_pre_hooks for module in model.modules())
        with torch.no_grad():
            logits = model(MEMBERS.x.float() / 255)
        p = torch.softmax(logits, 1)
        spread = sum(float(p[y == MEMBERS.y].var(0).sum()) for y in range(3))
        return float(imbalance(logits).mean()), spread

    plain = measured(Defense())
    assert measured(NeuGuard(1.0, 0.0))[0] < 0.5 * plain[0]
    assert measured(NeuGuard(0.0, 20.0))[1] < 0.8 * plain[1]
