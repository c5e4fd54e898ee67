"""MemGuard against its search written the slow way, one example at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.defenses import Defense, MemGuard
from membrane.defenses.memguard import Guard, membership_classifier
from membrane.models import check_steady, logits_of
from membrane.training import fit
from tests.defenses.questions import MEMBERS, TEST, finished, recipe_with, training

LOGITS = 3 * torch.randn(8, 4, generator=torch_generator(0))


class SureIsMember(nn.Module):
    """Membership logit 8 (p_max - 0.7) on sorted probabilities."""

    def forward(self, p: Tensor) -> Tensor:
        return 8 * (p[:, -1:] - 0.7)


GUARD = Guard(nn.Identity(), SureIsMember(), 1.0, 5).eval()


def slow(logits: Tensor, h: nn.Module) -> Tensor:
    """The noisy answer to one example (C,), as in the authors' loop, unsorted."""
    clean, order = logits.sort()
    p = torch.softmax(clean, 0)

    def half(z: Tensor) -> float:
        return torch.sigmoid(h(torch.softmax(z, 0)[None]))[0, 0].item() - 0.5

    last, c = clean.clone(), 0.1
    while abs(half(clean)) > 1e-5:
        z, steps, label = clean.clone(), 1, None
        while steps < 300 and (label != len(z) - 1 or half(z) * half(clean) > 0):
            z.requires_grad_()
            answer = torch.softmax(z, 0)
            value = h(answer[None])[0, 0].abs() + 10 * torch.relu(z[:-1].max() - z[-1]) + c * (answer - p).abs().sum()
            (slope,) = torch.autograd.grad(value, z)
            z = (z - 0.1 * slope / slope.norm()).detach()
            label, steps = int(z.argmax()), steps + 1
        if label != len(z) - 1 or half(z) * half(clean) > 0:
            break
        last, c = z, c * 10
        if c > 100_000:
            break
    return torch.empty_like(logits).scatter(0, order, last)


def noisy(logits: Tensor, guard: Guard = GUARD) -> Tensor:
    clean, order = logits.sort(dim=1)
    return torch.empty_like(logits).scatter(1, order, guard.noisy(clean))


def test_the_search_for_all_at_once_is_the_search_one_by_one() -> None:
    expected = torch.stack([slow(one, SureIsMember()) for one in LOGITS])
    torch.testing.assert_close(noisy(LOGITS), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(noisy(LOGITS[3:4]), noisy(LOGITS)[3:4])
    assert not torch.allclose(expected, LOGITS)


def test_noise_crosses_one_half_and_keeps_the_label() -> None:
    p = torch.softmax(noisy(LOGITS), 1)
    assert torch.equal(p.argmax(1), LOGITS.argmax(1))
    before = torch.softmax(LOGITS, 1).amax(1) > 0.7
    changed = (p - torch.softmax(LOGITS, 1)).abs().sum(1) > 1e-4
    assert ((p.amax(1) > 0.7) != before)[changed].all()
    assert changed.sum() >= 5


def test_noise_is_released_as_often_as_the_budget_allows() -> None:
    clean = LOGITS.sort(1).values
    found = GUARD.noisy(clean)
    distance = (torch.softmax(found, 1) - torch.softmax(clean, 1)).abs().sum(1)
    for epsilon in (0.1, 0.5, 1.0):
        chance = Guard(nn.Identity(), SureIsMember(), epsilon, 5).chance(clean, found)
        assert (chance * distance <= epsilon + 1e-6).all(), "the expected distortion"
        helps = distance > 0
        nearer = (torch.softmax(found, 1)[:, -1] - 0.7).abs() < (torch.softmax(clean, 1)[:, -1] - 0.7).abs()
        expected = torch.where(helps & nearer, (epsilon / distance).clamp(max=1), 0.0)
        torch.testing.assert_close(chance, expected)


def test_released_is_one_of_the_two_and_always_the_same() -> None:
    guard = Guard(nn.Identity(), SureIsMember(), 0.4, 5).eval()
    with torch.inference_mode():
        first, again = guard(LOGITS), guard(LOGITS)
    assert torch.equal(first, again)
    other = noisy(LOGITS)
    is_noisy = (first - other).abs().amax(1) < 1e-5
    is_clean = (first - LOGITS).abs().amax(1) < 1e-5
    assert (is_noisy | is_clean).all()
    assert is_noisy.any()
    assert is_clean.any()


def test_the_classifier_learns_what_tells_members_apart() -> None:
    sure, unsure = torch.tensor([[0.02, 0.98]]).expand(40, 2), torch.tensor([[0.4, 0.6]]).expand(40, 2)
    h = membership_classifier(sure, unsure, 60, 0.1, torch_generator(0))
    assert (h(sure) > 0).all()
    assert (h(unsure) < 0).all()


def test_guards_a_trained_model() -> None:
    defense = MemGuard(epsilon=2.0, epochs=60, lr=0.1)
    done = defense.finish(training(Defense()), torch_generator(1))
    assert done.facts["classifier_accuracy"] > 0.55
    assert done.facts["n"] == 40
    check_steady(done.model, TEST)
    assert isinstance(done.model, Guard)

    def caught(model: nn.Module) -> float:
        p = torch.softmax(logits_of(model, MEMBERS), 1).sort(1).values
        return float((torch.sigmoid(done.model.h(p)) - 0.5).abs().mean())

    assert caught(done.model) < 0.5 * caught(training(Defense()).model)
    few = TEST[:30]
    assert torch.equal(logits_of(done.model, few).argmax(1), logits_of(training(Defense()).model, few).argmax(1))


def test_refuses_to_guard_without_a_holdout() -> None:
    assert len(MemGuard().mistakes(recipe_with(Defense()), 60, 5)) == 1
    assert MemGuard(0.0).mistakes(recipe_with(Defense()), 60, 0) == []
    with pytest.raises(SettingError, match=r"there are 60 and 0\. Set holdout"):
        MemGuard().finish(fit(recipe_with(Defense()), MEMBERS, None, 0), torch_generator(0))
    assert finished(MemGuard(0.0)).model is training(MemGuard(0.0)).model
