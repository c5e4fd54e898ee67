"""Purifier: the reformer's loss by hand, whose classes are swapped, and what comes out of a trained model."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.defenses import Defense, Purifier
from membrane.defenses.purifier import Purified, Reformer, swapped
from membrane.models import check_steady, logits_of
from membrane.training import Finished, fit
from tests.defenses.questions import MEMBERS, TEST, recipe_with, training

QUICK = Purifier(epochs=200, lr=0.01)
P = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]], dtype=torch.float64)


def small(seed: int = 0) -> Reformer:
    return Reformer(3, (4, 5), 2, torch_generator(seed)).double()


def by_hand(reformer: Reformer, p: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Answers, means and variances of an untrained reformer in evaluation mode, example by example."""
    answers, means, variances = [], [], []
    layers = dict(reformer.named_parameters())

    def line(name: str, x: Tensor) -> Tensor:
        return layers[f"{name}.weight"] @ x + layers[f"{name}.bias"]

    def normed(x: Tensor) -> Tensor:
        return torch.relu(x / (1 + 1e-5) ** 0.5)  # running mean 0, variance 1, as it begins

    for one, draw in zip(p, draws, strict=True):
        label = F.one_hot(one.argmax(), 3).double()
        inside = normed(line("encoder.3", normed(line("encoder.0", torch.cat([one, label])))))
        mean, variance = line("mean", inside), line("log_variance", inside).exp()
        z = mean + draw * variance.sqrt()
        answers.append(line("exit", normed(line("decoder.0", line("entry", torch.cat([z, label]))))))
        means.append(mean)
        variances.append(variance)
    return torch.stack(answers), torch.stack(means), torch.stack(variances)


def test_the_reformer_is_what_the_formula_says() -> None:
    reformer, draws = small().eval(), torch.randn(3, 2, dtype=torch.float64, generator=torch_generator(1))
    with torch.no_grad():
        for layer in reformer.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight *= 60  # else hardly anything comes through
    answers, means, variances = by_hand(reformer, P, draws)
    torch.testing.assert_close(reformer(P, draws), answers)
    assert answers.std(0).min() > 1e-3
    error = (torch.softmax(answers, 1) - P).square().mean()
    divergence = 0.5 * (means.square() + variances - 1 - variances.log()).sum()
    torch.testing.assert_close(reformer.loss(P, draws, 0.0), error + divergence)
    sure = -sum(torch.log_softmax(a, 0)[p.argmax()] for a, p in zip(answers, P, strict=True)) / 3
    torch.testing.assert_close(reformer.loss(P, draws, 2.0), error + divergence + 2 * sure)


@pytest.mark.parametrize("label_weight", [0.0, 0.7])
def test_gradients(label_weight: float) -> None:
    reformer, draws = small().eval(), torch.randn(3, 2, dtype=torch.float64, generator=torch_generator(1))
    named = dict(reformer.named_parameters())
    with torch.no_grad():
        for parameter in named.values():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=torch_generator(2)))

    def loss(*values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(
            _Loss(reformer), {f"inside.{k}": v for k, v in zip(named, values, strict=True)}, (P, draws, label_weight)
        )
        return found

    assert torch.autograd.gradcheck(loss, tuple(named.values()))


class _Loss(torch.nn.Module):
    def __init__(self, inside: Reformer) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, p: Tensor, draws: Tensor, label_weight: float) -> Tensor:
        return self.inside.loss(p, draws, label_weight)


def test_the_first_two_classes_of_the_known_are_swapped_and_nothing_else() -> None:
    known = P[[0, 2]] + torch.tensor([4e-6, 0, -4e-6], dtype=torch.float64)
    near = torch.tensor([[0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.25, 0.25]], dtype=torch.float64)
    found = swapped(P, known, 1e-5)
    assert torch.equal(found[0], near[0])
    assert torch.equal(found[1], P[1])
    assert sorted(found[2].tolist()) == [0.25, 0.25, 0.5]
    assert found[2, 1] == 0.25
    assert torch.equal(swapped(P, known, 1e-6), P), "farther than that"
    assert torch.equal(swapped(P, known[:0], 1.0), P), "nobody is known"


@functools.cache
def purified(defense: Purifier = QUICK) -> Finished:
    return defense.finish(training(Defense()), torch_generator(1))


def test_as_many_members_are_swapped_as_the_gap_of_accuracy_says() -> None:
    facts = purified().facts
    model, holdout = training(Defense()).model, training(Defense()).holdout
    assert holdout is not None
    right = [(logits_of(model, part).argmax(1) == part.y).double().mean().item() for part in (MEMBERS, holdout)]
    assert right[0] > right[1]
    rate = (right[0] - right[1]) / right[0]
    assert facts["swap_rate"] == pytest.approx(rate)
    assert facts["swapped_members"] == int(rate * 60) > 3
    assert purified(Purifier(0.5, epochs=1)).facts["swapped_members"] == int(rate / 2 * 60)
    assert purified(Purifier(0.0, epochs=1)).facts["swapped_members"] == 0


def test_the_rate_is_the_gap_over_what_is_right_on_members() -> None:
    wrong = MEMBERS.y.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    trained = dataclasses.replace(training(Defense()), members=MEMBERS.relabelled(wrong))
    holdout = trained.holdout
    assert holdout is not None
    ours, theirs = (
        (logits_of(trained.model, part).argmax(1) == part.y).double().mean().item()
        for part in (trained.members, holdout)
    )
    assert theirs < ours < 0.95
    facts = Purifier(epochs=1).finish(trained, torch_generator(1)).facts
    assert facts["swap_rate"] == pytest.approx((ours - theirs) / ours)


def test_latent_variables_are_drawn_by_query_and_key() -> None:
    reformer = Reformer(3, (4, 5), 2, torch_generator(0)).eval()
    with torch.no_grad():
        for layer in reformer.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight *= 60
    nobody = torch.zeros(0, 3, dtype=torch.float64)
    one, other = (Purified(torch.nn.Identity(), reformer, nobody, 1e-5, key).eval() for key in (1, 2))
    z = P.log().float()
    with torch.no_grad():
        draws = torch.stack([torch.randn(2, generator=generator) for generator in one.generators(z)])
        torch.testing.assert_close(one(z), reformer(torch.softmax(z, 1), draws))
        assert torch.equal(one(z), one(z))
        assert (one(z) - other(z)).abs().max() > 1e-3


def test_known_members_get_the_second_class_and_others_their_own() -> None:
    model, plain = purified().model, training(Defense()).model
    assert isinstance(model, Purified)
    p = torch.softmax(logits_of(plain, MEMBERS).double(), 1)
    apart = torch.cdist(p, model.known).amin(1) >= model.near
    order = p.argsort(1, descending=True)
    answered = logits_of(model, MEMBERS).argmax(1)
    assert (answered == order[:, 0])[apart].double().mean() > 0.9
    assert (answered == order[:, 1])[~apart].double().mean() > 0.9
    assert (~apart).sum() >= model.known.shape[0]


def test_answers_are_those_of_their_class_and_steady() -> None:
    model = purified().model
    check_steady(model, TEST)
    p = torch.softmax(logits_of(model, TEST), 1)
    raw = torch.softmax(logits_of(training(Defense()).model, TEST), 1)
    label = p.argmax(1)
    for c in range(3):
        assert p[label == c].std(0).max() < 0.5 * raw[label == c].std(0).max(), "individual shapes are gone"
    others = Purifier(epochs=200, lr=0.01).finish(training(Defense()), torch_generator(2)).model
    assert not torch.equal(logits_of(others, TEST), logits_of(model, TEST)), "another key, other draws"


def test_the_reformer_learns_the_mean_answer_of_each_class() -> None:
    sure = torch.softmax(torch.randn(200, 3, generator=torch_generator(4)) * 2, 1)
    reformer = Purifier(epochs=150, lr=0.01).reformer(sure, torch_generator(0))
    found = torch.softmax(reformer(sure, torch.randn(200, 2, generator=torch_generator(5))), 1)
    for c in range(3):
        mine = sure.argmax(1) == c
        torch.testing.assert_close(found[mine].mean(0), sure[mine].mean(0), atol=0.05, rtol=0)
    before, after = ((one * one.log()).sum(1).std() for one in (sure, found))
    assert after < 0.3 * before, "and nothing of the single ones"


def test_refuses_to_learn_from_nobody() -> None:
    with pytest.raises(SettingError, match=r"there are 0\. Set holdout"):
        fit(recipe_with(Purifier()), MEMBERS, None, 0)
    assert Purifier().mistakes(recipe_with(Defense()), 60, 10) == []
    with pytest.raises(SettingError, match=r"(?s)swap.*near.*hidden"):
        Purifier(swap=2.0, near=0.0, hidden=())
