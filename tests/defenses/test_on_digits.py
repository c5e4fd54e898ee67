"""A short training on digits with some wrong labels: what each defense promises, measured by the plainest attack."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data import Digits, Examples
from membrane.defenses import (
    CCL,
    CRL,
    DMP,
    HAMP,
    KCD,
    L2,
    MIST,
    PAST,
    SELENA,
    CutMix,
    Defense,
    Dropout,
    FocalLoss,
    HAMPOutput,
    HAMPTraining,
    LabelSmoothing,
    Mixup,
    MixupMMD,
    NeuGuard,
    RelaxLoss,
    ShortSchedule,
    Temperature,
)
from membrane.metrics import auc
from membrane.models import MLP, logits_of
from membrane.training import Recipe, fit

N, N_WRONG = 150, 20
# Promise less leakage; the AUC of the loss is 0.63 undefended.
PROTECTING = [
    RelaxLoss(0.8),
    HAMP(0.9, 0.1),
    HAMPTraining(0.9, 0.1),
    HAMPOutput(),
    CCL(0.3),
    CRL(),
    MixupMMD(),
    SELENA(5, 2),
    DMP(),
    KCD(),
    MIST(2, 0.3),
    PAST(0.006),
    ShortSchedule(8),
]
# Promise to be less sure of what was learnt, wrong labels included.
REGULARIZING = [
    LabelSmoothing(0.3),
    FocalLoss(2.0),
    L2(0.02),
    Dropout(0.5),
    Mixup(),
    CutMix(),
    NeuGuard(0.1, 5.0),
    Temperature(5.0),
]


@functools.cache
def data() -> tuple[Examples, Examples, Examples]:
    """Members, the first of them mislabelled; holdout; test."""
    splits = Digits().load()
    y = splits.train.y[:N].clone()
    y[:N_WRONG] = (y[:N_WRONG] + 1 + torch.randint(9, (N_WRONG,), generator=torch_generator(3))) % 10
    return splits.train[:N].relabelled(y), splits.train[N : N + 200], splits.test


@functools.cache
def losses(defense: Defense) -> tuple[Tensor, Tensor, float]:
    """Losses of members and of test examples, and test accuracy, of what is released."""
    members, holdout, test = data()
    recipe = Recipe(MLP((64,)), epochs=30, batch_size=32, lr=0.1, defense=defense, keep=2)
    model = defense.release(defense.finish(fit(recipe, members, holdout, 0), torch_generator(1)).model)
    ours, others = (logits_of(model, part) for part in (members, test))
    right = (others.argmax(1) == test.y).float().mean().item()
    return (
        F.cross_entropy(ours, members.y, reduction="none"),
        F.cross_entropy(others, test.y, reduction="none"),
        right,
    )


def leakage(defense: Defense) -> float:
    members, others, _ = losses(defense)
    scores = -torch.cat([members, others])
    return auc(scores.double().numpy(), (torch.arange(len(scores)) < N).numpy())


@pytest.mark.parametrize("defense", PROTECTING, ids=lambda defense: defense.name)
def test_leaks_less_and_still_classifies(defense: Defense) -> None:
    assert leakage(Defense()) > 0.61
    assert leakage(defense) < leakage(Defense()) - 0.02
    assert losses(defense)[2] > losses(Defense())[2] - 0.05


@pytest.mark.parametrize("defense", REGULARIZING, ids=lambda defense: defense.name)
def test_is_less_sure_of_wrong_labels_and_still_classifies(defense: Defense) -> None:
    assert losses(defense)[0][:N_WRONG].mean() > 1.3 * losses(Defense())[0][:N_WRONG].mean()
    assert losses(defense)[2] > losses(Defense())[2] - 0.05
