"""CWRF: scores against a slow loop, which weights stand still, and where the second training begins."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from membrane.core.errors import SettingError, TrainingError
from membrane.core.generators import derive_seed, torch_generator
from membrane.data.loader import Batch
from membrane.defenses import CRL, CWRF, DPSGD, MIST, Defense, EarlyStopping, Mixup, RelaxLoss, Rounding, ShortSchedule
from membrane.defenses.cwrf import _Rewound, flat, largest, unflat
from membrane.models import MLP
from membrane.regions import copy_state
from membrane.training import Recipe, Start, fit
from membrane.training.parts import Parts
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.training.jobs import recipe, weight_bits

PLAN = dataclasses.replace(recipe_with(Defense()), model=MLP((6,)), epochs=4)


def start(plan: Recipe = PLAN, parts: Parts | None = None) -> Start:
    model = plan.model.build(MEMBERS, torch_generator(0, "weights"))
    return Start(model, MEMBERS, HOLDOUT, plan, 0, torch.device("cpu"), parts or Parts())


def test_scores_are_summed_as_the_formula_says() -> None:
    settings, given = CWRF(mix=0.3, steps=3, probe_lr=0.2), start()
    model = fit(PLAN, MEMBERS, None, 5).model
    slow = copy.deepcopy(model)
    found = settings.scores(model, given, HOLDOUT)
    generator = torch_generator(0, "probe")
    expected = {name: torch.zeros_like(p) for name, p in slow.named_parameters()}
    first = given.model.eval()
    for _ in range(3):
        batches = []
        for side in (MEMBERS, HOLDOUT):
            index = torch.randint(len(side), (PLAN.batch_size,), generator=generator)
            batches.append((side.x[index].float() / 255, side.y[index]))
        (x, y), (away, _) = batches
        now, before = torch.softmax(slow(away), 1), torch.softmax(first(away), 1).detach()
        apart = sum((a * (a / b).log()).sum() for a, b in zip(now, before, strict=True)) / len(away)
        loss = 0.7 * F.cross_entropy(slow(x), y) + 0.3 * apart
        slow.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, p in slow.named_parameters():
                assert p.grad is not None
                expected[name] += (p.grad * p).abs()
                p -= 0.2 * p.grad
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one.detach(), rtol=1e-4, atol=1e-6)


def test_the_largest_scores_are_chosen_over_the_whole_network() -> None:
    scores = {"a": torch.tensor([[1.0, 5.0], [2.0, 2.0]]), "b": torch.tensor([4.0])}
    masks = largest(scores, 0.6)
    assert masks["a"].tolist() == [[False, True], [True, False]], "of equal scores the first"
    assert masks["b"].tolist() == [True]
    assert not any(mask.any() for mask in largest(scores, 0.19).values()), "rounded down"


def test_what_is_laid_end_to_end_comes_back() -> None:
    tensors = [torch.randn(2, 3, generator=torch_generator(0)), torch.tensor(7), torch.tensor([1e-30, 3e38])]
    for one, other in zip(unflat(flat(tensors), tensors), tensors, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype


def test_the_second_training_begins_at_the_first_with_chosen_weights_rewound() -> None:
    given, settings = start(), CWRF(share=0.25, steps=5)
    first = copy_state(given.model)
    trained = fit(dataclasses.replace(PLAN, keep=2), MEMBERS, None, derive_seed(0, "first"), begin=first).model
    scores = settings.scores(copy.deepcopy(trained), start(), HOLDOUT)
    masks = largest(scores, 0.25)
    prepared = settings.prepared(given)
    assert isinstance(prepared, _Rewound)
    for name, value in copy_state(given.model).items():
        final = copy_state(trained)[name]
        assert torch.equal(value, torch.where(masks[name], first[name], final) if name in masks else final)
    n = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == n // 4


@pytest.mark.parametrize("inner", [Defense(), RelaxLoss(0.7), Mixup(), CRL(0.9)], ids=lambda one: one.name)
def test_rewound_weights_stand_still_and_all_others_move(inner: Defense) -> None:
    plan = dataclasses.replace(PLAN, defense=CWRF(share=0.2, steps=5, inner=inner))
    done = fit(plan, MEMBERS, HOLDOUT, 0)
    first = copy_state(plan.model.build(MEMBERS, torch_generator(0, "weights")))
    final = copy_state(done.model)
    still = {name: final[name] == first[name] for name, _ in done.model.named_parameters()}
    n, total = sum(int(one.sum()) for one in still.values()), sum(one.numel() for one in still.values())
    assert total // 5 <= n <= total // 5 + 2, "but for weights that no gradient reaches"
    trail = done.trail.at(1)
    assert all(torch.equal(trail[name][mask], first[name][mask]) for name, mask in still.items()), "all along"


def test_the_inner_loss_is_what_trains() -> None:
    prepared = CWRF(steps=1, inner=RelaxLoss(1.5)).prepared(start())
    logits = torch.randn(6, 3, generator=torch_generator(0))
    batch = Batch(torch.zeros(6, 1), MEMBERS.y[:6], torch.arange(6))
    assert torch.equal(prepared.loss(logits, batch, 0), RelaxLoss(1.5).loss(logits, batch, 0))
    assert torch.equal(CWRF(steps=1).prepared(start()).loss(logits, batch, 0), Defense().loss(logits, batch, 0))


def test_a_kept_first_training_is_not_made_again() -> None:
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, make):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if name not in kept:
            kept[name] = make()
        return kept[name]

    plan = recipe(epochs=2, batch_size=16, defense=CWRF(steps=3))  # BatchNorm counters among what is kept
    bits = [weight_bits(fit(plan, MEMBERS, HOLDOUT, 0, keep=keep).model) for _ in range(2)]
    assert bits[0] == bits[1] == weight_bits(fit(plan, MEMBERS, HOLDOUT, 0).model)
    assert list(kept) == ["first training and its scores"]


def test_what_it_cannot_do_is_said() -> None:
    for inner in (Rounding(), EarlyStopping(1), ShortSchedule(2), DPSGD()):
        with pytest.raises(SettingError, match=f"cwrf cannot train with '{inner.name}'"):
            CWRF(inner=inner)
    with pytest.raises(SettingError, match="cannot train with 'mist' as it is set: it has its own wrap"):
        CWRF(steps=1, inner=MIST()).prepared(start())
    with pytest.raises(SettingError, match=r"there are 0\. Set holdout"):
        fit(recipe_with(CWRF()), MEMBERS, None, 0)
    with pytest.raises(SettingError, match="rewinds whole weights; set lora = 0"):
        fit(dataclasses.replace(PLAN, defense=CWRF(), trainable=("head",), lora=2), MEMBERS, HOLDOUT, 0)
    with pytest.raises(TrainingError, match=r"the probing diverged\. Lower probe_lr"):
        fit(dataclasses.replace(PLAN, defense=CWRF(probe_lr=1e30)), MEMBERS, HOLDOUT, 0)
