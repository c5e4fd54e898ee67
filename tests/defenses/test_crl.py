"""CRL against its formulas written the slow way, in each of its branches."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data.loader import Batch
from membrane.defenses import CRL
from membrane.defenses.features import head_of
from membrane.training import fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.defenses.test_losses import LOGITS, Y

TAU = 0.5
FEATURES = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
CENTERS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], dtype=torch.float64)


def softmax(z: list[float]) -> list[float]:
    total = sum(map(exp, z))
    return [exp(one) / total for one in z]


def shrunk(v: list[float], tau: float) -> list[float]:
    length = sqrt(sum(one**2 for one in v))
    return [one / (1 + tau * length) for one in v]


def squares(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


ANSWERS = [softmax(shrunk(z, TAU)) for z in LOGITS.tolist()]
CE = [-log(p[y]) for p, y in zip(ANSWERS, Y.tolist(), strict=True)]
MEAN = sum(CE) / 3  # 1.05 nats
RAW = [softmax(z)[y] for z, y in zip(LOGITS.tolist(), Y.tolist(), strict=True)]
APART = [squares(shrunk(q, 1), shrunk(CENTERS[y].tolist(), 1)) for q, y in zip(FEATURES.tolist(), Y, strict=True)]
DISTANCE = sum(APART) / 6


def loss(alpha: float, epoch: int, upper: float = 1.0, logits: Tensor = LOGITS) -> Tensor:
    return CRL(alpha, TAU, upper=upper).loss(logits, Batch(torch.zeros(3, 1), Y, torch.arange(3)), epoch)


def center(alpha: float, epoch: int, upper: float = 1.0, features: Tensor = FEATURES) -> Tensor:
    return CRL(alpha_center=alpha, upper_center=upper).center_loss(LOGITS, features, CENTERS, Y, epoch)


def test_every_second_epoch_aims_at_alpha() -> None:
    for epoch in (1, 3):  # the second epoch is their number 2
        for alpha in (0.5, 2.0):
            assert loss(alpha, epoch).item() == pytest.approx(abs(MEAN - alpha))
            assert center(alpha / 10, epoch).item() == pytest.approx(abs(DISTANCE - alpha / 10))


def test_the_other_epochs_descend_above_alpha() -> None:
    assert loss(0.5, 0).tolist() == pytest.approx(CE)
    assert center(0.01, 2).item() == pytest.approx(DISTANCE)


@pytest.mark.parametrize("upper", [1.0, 0.3])
def test_the_other_epochs_flatten_below_alpha(upper: float) -> None:
    expected = []
    for p, y, raw in zip(ANSWERS, Y.tolist(), RAW, strict=True):
        own = min(raw, upper)  # of the logits before normalization
        expected.append(-sum((own if j == y else (1 - own) / 2) * log(q) for j, q in enumerate(p)))
    assert loss(2.0, 0, upper).tolist() == pytest.approx(expected)
    away = [squares(shrunk(q, 1), [0, 0]) for q in FEATURES.tolist()]
    own_weight = [min(raw, upper) for raw in RAW]
    by_hand = sum(w * d + (1 - w) * a for w, d, a in zip(own_weight, APART, away, strict=True)) / 6
    assert center(5.0, 0, upper).item() == pytest.approx(by_hand)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("epoch", [0, 1])
def test_gradients(alpha: float, epoch: int) -> None:
    logits, features = LOGITS.clone().requires_grad_(), (FEATURES + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(alpha, epoch, logits=z), logits)
    assert torch.autograd.gradcheck(lambda q: center(alpha / 10, epoch, features=q), features)


def test_normalization_bounds_how_low_the_loss_gets() -> None:
    sure = torch.tensor([[1e4, 0.0, 0.0]])
    value = CRL(0.0, 0.5, 0.0).loss(sure, Batch(torch.zeros(1, 1), torch.tensor([0]), torch.arange(1)), 0)
    assert value.item() == pytest.approx(log(1 + 2 * exp(-2)), rel=1e-3)


def test_features_come_nearer_to_their_centers_and_the_network_is_left_clean() -> None:
    centers = torch.randn(3, 4, generator=torch_generator(0, "centers"))  # which hardly move at their rate

    def distance(weight: float) -> float:
        model = fit(recipe_with(CRL(0.0, 0.0, weight, alpha_center=0.0)), MEMBERS, HOLDOUT, 0).model
        head = head_of(model, 3, "crl")
        assert not head._forward_pre_hooks
        seen: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            logits = model(MEMBERS.x.float() / 255)
        hook.remove()
        return CRL(alpha_center=0.0).center_loss(logits, seen[0], centers, MEMBERS.y, 0).item()

    near, far = distance(3.0), distance(0.0)
    assert near < 0.9 * far, (near, far)


def test_a_network_without_a_linear_head_is_refused() -> None:
    with pytest.raises(SettingError, match="crl: the network does not end in a linear layer with 3 outputs"):
        head_of(torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU()), 3, "crl")
