"""KCD: who teaches whom, and what the student's labels are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.core.generators import derive_seed, torch_generator
from membrane.data.loader import Batch
from membrane.defenses import KCD, Defense
from membrane.defenses.soft_labels import SoftLabels
from membrane.models import logits_of
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.defenses.test_losses import LOGITS


def short(defense: Defense) -> Recipe:
    return Recipe(**{**vars(recipe_with(defense)), "epochs": 3})


def test_labels_are_mixed_with_answers_of_the_teacher_that_did_not_see_the_member() -> None:
    settings = KCD(0.7, 3)
    model = short(settings).model.build(MEMBERS, torch_generator(0))
    student = settings.prepared(Start(model, MEMBERS, HOLDOUT, short(settings), 0, torch.device("cpu")))
    assert isinstance(student, SoftLabels)
    fold = torch.randperm(60, generator=torch_generator(0, "folds")) % 3
    assert torch.bincount(fold).tolist() == [20, 20, 20]
    plain = Recipe(**{**vars(short(Defense())), "keep": 2})
    soft = torch.zeros(60, 3)
    for i in range(3):
        teacher = fit(plain, MEMBERS[torch.nonzero(fold != i)[:, 0]], None, derive_seed(0, "folds", i)).model
        soft[fold == i] = torch.softmax(logits_of(teacher, MEMBERS), 1)[fold == i]
    torch.testing.assert_close(student.table, 0.7 * soft + 0.3 * F.one_hot(MEMBERS.y, 3))
    index = torch.tensor([4, 7, 9])
    batch = Batch(torch.zeros(3, 1), MEMBERS.y[index], index)
    hard = F.cross_entropy(LOGITS, batch.y, reduction="none")
    to_teacher = -(soft[index] * F.log_softmax(LOGITS, 1)).sum(1)
    torch.testing.assert_close(student.loss(LOGITS, batch, 0), 0.7 * to_teacher + 0.3 * hard, check_dtype=False)


def test_soft_labels_have_the_gradient_of_their_cross_entropy() -> None:
    table = torch.softmax(torch.randn(6, 3, dtype=torch.float64, generator=torch_generator(0)), 1)
    batch = Batch(torch.zeros(3, 1), MEMBERS.y[:3], torch.tensor([5, 0, 2]))
    by_hand = [
        -sum(t * q for t, q in zip(*rows, strict=True))
        for rows in zip(table[batch.index].tolist(), F.log_softmax(LOGITS, 1).tolist(), strict=True)
    ]
    assert SoftLabels(table).loss(LOGITS, batch, 0).tolist() == pytest.approx(by_hand)
    z = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: SoftLabels(table).loss(one, batch, 0), z)


def test_folds_without_members_are_refused() -> None:
    with pytest.raises(SettingError, match="60 members are too few for 31 folds"):
        fit(short(KCD(folds=31)), MEMBERS, None, 0)
    assert KCD(0.0, 31).mistakes(short(Defense()), 60, 0) == []
