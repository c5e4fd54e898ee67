"""SELENA: who teaches whom, and that a label nobody else would give is not learnt."""

from __future__ import annotations

import functools

import torch

from membrane.core.generators import derive_seed, torch_generator
from membrane.data import Examples
from membrane.defenses import SELENA, Defense
from membrane.models import logits_of
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.training.jobs import weight_bits

FEW = SELENA(models=3, left_out=1)


def short(defense: Defense) -> Recipe:
    return Recipe(**{**vars(recipe_with(defense)), "epochs": 6})


def start(members: Examples = MEMBERS) -> Start:
    model = short(FEW).model.build(members, torch_generator(0))
    return Start(model, members, HOLDOUT, short(FEW), 0, torch.device("cpu"))


@functools.cache
def table() -> torch.Tensor:
    return FEW.soft_labels(start())


def test_each_member_is_left_out_as_often_as_asked() -> None:
    for models, left_out in ((3, 1), (25, 10), (4, 3)):
        unseen = SELENA(models, left_out).unseen(start())
        assert unseen.shape == (60, models)
        assert (unseen.sum(1) == left_out).all()
        assert unseen.any(0).all()


def test_soft_labels_come_from_models_that_did_not_see_the_member() -> None:
    unseen = FEW.unseen(start())
    for k in range(3):
        seen = torch.nonzero(~unseen[:, k])[:, 0]
        plan = Recipe(**{**vars(short(Defense())), "keep": 2})
        model = fit(plan, MEMBERS[seen], None, derive_seed(0, "split", k)).model
        expected = torch.softmax(logits_of(model, MEMBERS), 1)[unseen[:, k]]
        torch.testing.assert_close(table()[unseen[:, k]], expected)
    torch.testing.assert_close(table().sum(1), torch.ones(60))


def test_the_released_model_is_trained_on_them_and_on_nothing_else() -> None:
    class Given(Defense):
        def targets(self, batch, n_classes, epoch):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return table()[batch.index]

    one, by_hand = (fit(short(defense), MEMBERS, HOLDOUT, 0).model for defense in (FEW, Given()))
    assert weight_bits(one) == weight_bits(by_hand)
    relabelled = MEMBERS.relabelled(MEMBERS.y.roll(1))
    assert weight_bits(fit(short(Given()), relabelled, None, 0).model) == weight_bits(by_hand), "labels play no part"


def test_sub_models_may_learn_at_another_rate() -> None:
    slow, recipe = SELENA(models=3, left_out=1, sub_lr=0.01), Recipe(**{**vars(short(FEW)), "lr": 0.01})
    model = recipe.model.build(MEMBERS, torch_generator(0))
    alike = FEW.soft_labels(Start(model, MEMBERS, HOLDOUT, recipe, 0, torch.device("cpu")))
    torch.testing.assert_close(slow.soft_labels(start()), alike, rtol=0, atol=0)
    assert not torch.equal(alike, table())


def test_a_wrong_label_is_not_learnt() -> None:
    wrong = MEMBERS.y.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    members = MEMBERS.relabelled(wrong)
    losses = {}
    for defense in (Defense(), FEW):
        logits = logits_of(fit(short(defense), members, None, 0).model, members)
        losses[defense] = torch.nn.functional.cross_entropy(logits[:6], wrong[:6]).item()
    assert losses[FEW] > losses[Defense()] + 0.5, losses


def test_says_when_sub_models_would_starve() -> None:
    assert len(SELENA(10, 9).mistakes(short(FEW), 100, 0)) == 1
    assert SELENA().mistakes(short(FEW), 100, 0) == []
