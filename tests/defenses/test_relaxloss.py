from __future__ import annotations

from math import exp, log
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses import RelaxLoss

Variant = Literal["official", "plain"]
# Two examples, three classes; the first is predicted rightly, the second wrongly.
LOGITS = torch.tensor([[log(6.0), log(3.0), log(1.0)], [log(1.0), log(2.0), log(1.0)]], dtype=torch.float64)
Y = torch.tensor([0, 2])
P = [[0.6, 0.3, 0.1], [0.25, 0.5, 0.25]]
CE = [-log(0.6), -log(0.25)]  # 0.51083, 1.38629
MEAN = (CE[0] + CE[1]) / 2  # 0.94856 nats


def loss(
    alpha: float, epoch: int, variant: Variant = "official", upper: float = 1.0, logits: Tensor = LOGITS
) -> Tensor:
    batch = Batch(torch.zeros(2, 1), Y, torch.arange(2))
    return RelaxLoss(alpha, upper, variant).loss(logits, batch, epoch)


def gradient(alpha: float, epoch: int, variant: Variant = "official") -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    loss(alpha, epoch, variant, logits=logits).mean().backward()
    assert logits.grad is not None
    return logits.grad


def plain_gradient() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    F.cross_entropy(logits, Y).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("variant", ["official", "plain"])
def test_even_epochs_aim_at_alpha_from_both_sides(variant: Variant) -> None:
    for epoch in (0, 2, 10):
        assert loss(0.5, epoch, variant).item() == pytest.approx(MEAN - 0.5)
        assert loss(1.5, epoch, variant).item() == pytest.approx(1.5 - MEAN)
        torch.testing.assert_close(gradient(0.5, epoch, variant), plain_gradient())  # descent
        torch.testing.assert_close(gradient(1.5, epoch, variant), -plain_gradient())  # ascent


@pytest.mark.parametrize("variant", ["official", "plain"])
def test_odd_epochs_above_alpha_are_ordinary_descent(variant: Variant) -> None:
    for epoch in (1, 3):
        assert loss(0.5, epoch, variant).tolist() == pytest.approx(CE)
        torch.testing.assert_close(gradient(0.5, epoch, variant), plain_gradient())


def soft(p: list[float], y: int, upper: float = 1.0) -> float:
    """Cross-entropy with p_y, at most ``upper``, on the label and the rest spread evenly."""
    own = min(p[y], upper)
    return -sum((own if j == y else (1 - own) / (len(p) - 1)) * log(q) for j, q in enumerate(p))


def test_soft_targets_by_hand() -> None:
    assert soft(P[0], 0) == pytest.approx(-(0.6 * log(0.6) + 0.2 * log(0.3) + 0.2 * log(0.1)))
    assert soft(P[1], 2) == pytest.approx(-(0.25 * log(0.25) + 0.375 * log(0.25) + 0.375 * log(0.5)))
    assert soft(P[0], 0, upper=0.4) == pytest.approx(-(0.4 * log(0.6) + 0.3 * log(0.3) + 0.3 * log(0.1)))


@pytest.mark.parametrize("upper", [1.0, 0.4])
def test_odd_epochs_below_alpha_flatten_the_posterior(upper: float) -> None:
    flat = [soft(P[0], 0, upper), soft(P[1], 2, upper)]
    assert loss(1.5, 1, "plain", upper).tolist() == pytest.approx(flat)
    assert loss(1.5, 1, "official", upper).tolist() == pytest.approx([-CE[0], flat[1] - CE[1]])


def test_the_soft_target_is_a_constant() -> None:
    """Gradient of the soft cross-entropy alone: p minus the target, over the batch."""
    target = torch.tensor([[0.6, 0.2, 0.2], [0.375, 0.375, 0.25]], dtype=torch.float64)
    p, own = torch.tensor(P, dtype=torch.float64), F.one_hot(Y, 3).double()
    torch.testing.assert_close(gradient(1.5, 1, "plain"), (p - target) / 2)
    flattening = (p - target) * torch.tensor([[0.0], [1.0]])
    torch.testing.assert_close(gradient(1.5, 1, "official"), (flattening - (p - own)) / 2)


def test_flattening_raises_the_loss_of_what_is_known_and_evens_out_the_rest() -> None:
    step = LOGITS - 0.1 * gradient(1.5, 1, "official")
    assert F.cross_entropy(step[:1], Y[:1]).item() > CE[0]
    others = [torch.softmax(z, 1)[1, :2] for z in (LOGITS, LOGITS - 0.1 * gradient(1.5, 1, "plain"))]
    assert others[1].max() / others[1].min() < 2 - 1e-3, "they were 2 to 1"


@pytest.mark.parametrize("variant", ["official", "plain"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_alpha_zero_is_plain_cross_entropy(variant: Variant, epoch: int) -> None:
    assert torch.equal(loss(0.0, epoch, variant), F.cross_entropy(LOGITS, Y, reduction="none"))
    sure = LOGITS * 1_000  # loss exactly 0 on the first example
    assert torch.equal(loss(0.0, epoch, variant, logits=sure), F.cross_entropy(sure, Y, reduction="none"))


def test_sure_predictions_stay_finite() -> None:
    logits = torch.tensor([[500.0, -500.0, 0.0], [500.0, 0.0, -500.0]])
    for epoch in (0, 1):
        for variant in ("official", "plain"):
            value = loss(1e6, epoch, variant, logits=logits)  # type: ignore[arg-type]
            assert torch.isfinite(value).all()


def test_training_settles_near_alpha() -> None:
    """A direct descent on the logits of one batch ends where the loss is alpha."""
    logits = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for step in range(400):
        value = loss(0.4, step % 2, logits=logits).mean()
        (grad,) = torch.autograd.grad(value, logits)
        with torch.no_grad():
            logits -= 0.05 * grad
    assert F.cross_entropy(logits, Y).item() == pytest.approx(0.4, abs=0.03)
    assert exp(-0.4) < 1
