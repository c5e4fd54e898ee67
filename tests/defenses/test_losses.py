"""Objectives of the known defenses, against values worked out by hand, and their gradients against differences."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses import CCL, CRL, ConfidencePenalty, Defense, FocalLoss, HAMPTraining, LabelSmoothing

# Three examples, three classes: predicted rightly, predicted wrongly, and knowing nothing.
P = [[0.6, 0.3, 0.1], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]]
LOGITS = torch.tensor([[log(6.0), log(3.0), 0.0], [0.0, log(2.0), 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([0, 2, 1])
CE = [-log(0.6), -log(0.25), log(3)]
ENTROPY = [-(0.6 * log(0.6) + 0.3 * log(0.3) + 0.1 * log(0.1)), 0.5 * log(4) + 0.5 * log(2), log(3)]
OFF: list[Defense] = [
    LabelSmoothing(0),
    ConfidencePenalty(0),
    FocalLoss(0),
    HAMPTraining(0, 0),
    CCL(1),
    CCL(1, form="quadratic"),
    CRL(0, 0, 0),
]
P_Y = [0.6, 0.25, 1 / 3]


def divergence(target: list[float], p: list[float]) -> float:
    return sum(t * log(t / q) for t, q in zip(target, p, strict=True))


ON: list[tuple[Defense, list[float]]] = [
    (
        LabelSmoothing(0.3),  # 0.7 + 0.1 on the label, 0.1 on each other
        [
            -(0.8 * log(0.6) + 0.1 * log(0.3) + 0.1 * log(0.1)),
            -(0.1 * log(0.25) + 0.1 * log(0.5) + 0.8 * log(0.25)),
            log(3),
        ],
    ),
    (ConfidencePenalty(0.5), [ce - 0.5 * h for ce, h in zip(CE, ENTROPY, strict=True)]),
    (FocalLoss(2), [0.4**2 * CE[0], 0.75**2 * CE[1], (2 / 3) ** 2 * CE[2]]),
    (
        HAMPTraining(0.9, 0.2),  # H(0.56, 0.22, 0.22) = 0.991 >= 0.9 log 3 = 0.989 > H(0.57, 0.215, 0.215) = 0.981
        [
            divergence(target, p) - 0.2 * h
            for target, p, h in zip(
                ([0.56, 0.22, 0.22], [0.22, 0.22, 0.56], [0.22, 0.56, 0.22]), P, ENTROPY, strict=True
            )
        ],
    ),
    (CCL(0.4, 2), [2 * (0.4 * ce - 0.6 * exp(p)) for ce, p in zip(CE, P_Y, strict=True)]),
    (CCL(0.4, 2, "quadratic"), [2 * (0.4 * ce - 0.6 * (p + p**2 / 2)) for ce, p in zip(CE, P_Y, strict=True)]),
    (FocalLoss(0.5), [0.4**0.5 * CE[0], 0.75**0.5 * CE[1], (2 / 3) ** 0.5 * CE[2]]),
]
SURE = torch.tensor([[500.0, -500.0, 0.0], [500.0, 0.0, -500.0], [80.0, -80.0, 0.0]])


def loss(defense: Defense, logits: Tensor, epoch: int = 0, y: Tensor = Y) -> Tensor:
    return defense.loss(logits, Batch(torch.zeros(len(y), 1), y, torch.arange(len(y))), epoch)


@pytest.mark.parametrize(("defense", "expected"), ON, ids=lambda value: repr(value)[:30])
def test_by_hand(defense: Defense, expected: list[float]) -> None:
    for epoch in (0, 1):
        # label smoothing makes its targets in float32, as the loop does all else
        assert loss(defense, LOGITS, epoch).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("defense", OFF, ids=repr)
def test_off_is_cross_entropy_bit_for_bit(defense: Defense) -> None:
    for logits in (LOGITS.float(), SURE):
        assert torch.equal(loss(defense, logits), F.cross_entropy(logits, Y, reduction="none"))


@pytest.mark.parametrize("defense", [one for one, _ in ON], ids=repr)
def test_gradients(defense: Defense) -> None:
    logits = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(defense, z), logits, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("defense", [one for one, _ in ON], ids=repr)
def test_sure_predictions_have_a_finite_loss_and_gradient(defense: Defense) -> None:
    logits = SURE.clone().requires_grad_()
    value = loss(defense, logits)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_what_they_push_away_from_sureness_is_least_at_a_finite_confidence() -> None:
    """Plain cross-entropy falls for ever as logits grow; smoothing and the penalty have their minimum inside."""
    scales = torch.linspace(0, 30, 301, dtype=torch.float64)
    logits, y = (
        scales[:, None] * torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64),
        torch.zeros(301, dtype=torch.long),
    )
    assert loss(Defense(), logits, y=y).argmin() == 300
    for defense in (LabelSmoothing(0.3), ConfidencePenalty(0.5)):
        assert 0 < loss(defense, logits, y=y).argmin() < 200
    best = loss(LabelSmoothing(0.3), logits, y=y).argmin()
    assert torch.softmax(logits[best], 0)[0].item() == pytest.approx(0.8, abs=0.01), "the smoothed label itself"
