"""AdvReg and DMP: what the holdout is for, by hand and in a short training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.core.generators import derive_seed, torch_generator
from membrane.data import Examples
from membrane.data.loader import Batch
from membrane.defenses import DMP, AdvReg, Defense, HAMPTraining, MixupMMD
from membrane.defenses.advreg import MembershipAttack, _Adversarial
from membrane.defenses.dmp import _Student
from membrane.models import logits_of
from membrane.pptp import PPTP
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, TEST, recipe_with, training
from tests.defenses.test_losses import LOGITS, Y
from tests.training.jobs import weight_bits

BATCH = Batch(torch.zeros(3, 1), Y, torch.arange(3))


def start(defense: Defense) -> Start:
    recipe = recipe_with(defense)
    return Start(recipe.model.build(MEMBERS, torch_generator(0)), MEMBERS, HOLDOUT, recipe, 0, torch.device("cpu"))


def test_advreg_adds_what_the_attack_says_from_the_second_epoch_on() -> None:
    defense = AdvReg(2.0).prepared(start(AdvReg()))
    assert isinstance(defense, _Adversarial)
    logits = LOGITS.float().requires_grad_()
    ce = F.cross_entropy(logits, Y, reduction="none")
    assert torch.equal(defense.loss(logits, BATCH, 0), ce)
    found = defense.loss(logits, BATCH, 1)
    torch.testing.assert_close(found, ce + 2 * (defense.attack(logits, Y) - 0.5))
    found.mean().backward()
    assert logits.grad is not None
    assert all(parameter.grad is None for parameter in defense.attack.parameters()), "that is its own optimizer's"


def test_advreg_has_the_gradient_of_what_it_adds() -> None:
    defense = AdvReg(2.0).prepared(start(AdvReg()))
    assert isinstance(defense, _Adversarial)
    defense.attack.double()
    with torch.no_grad():
        for parameter in defense.attack.parameters():
            parameter *= 8
    z = torch.randn(3, 3, dtype=torch.float64, generator=torch_generator(3), requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: defense.loss(one, BATCH, 1), z)


def test_the_attack_network_reads_answers_and_labels() -> None:
    h = MembershipAttack(3, torch_generator(0))
    n = sum(parameter.numel() for parameter in h.parameters())
    answers, labels = 3 * 1024 + 1024 * 512 + 512 * 64 + 1600, 3 * 128 + 128 * 64 + 192
    joint = 128 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 + 961
    assert n == answers + labels + joint
    assert float(h.answers[0].weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    with torch.no_grad():
        for parameter in h.parameters():
            parameter *= 8  # as they are first, hardly anything comes through
    out = h(LOGITS.float(), Y)
    assert out.shape == (3,)
    assert ((out > 0) & (out < 1)).all()
    assert not torch.equal(out, h(LOGITS.float(), (Y + 1) % 3))
    assert not torch.equal(out, h(LOGITS.float() * 2, Y))


def test_the_attack_learns_from_members_and_holdout() -> None:
    done = training(Defense())
    given = start(AdvReg())
    defense = AdvReg(attack_steps=100).prepared(Start(done.model, MEMBERS, HOLDOUT, given.recipe, 0, given.device))
    assert isinstance(defense, _Adversarial)
    batch = Batch(torch.zeros(30, 1), MEMBERS.y[:30], torch.arange(30))
    assert defense.batch(batch, 1, torch_generator(0)) is batch
    with torch.no_grad():
        members, others = (defense.attack(logits_of(done.model, part), part.y).mean() for part in (MEMBERS, HOLDOUT))
    assert members > others + 0.1
    done.model.eval()


class SmallAttack(nn.Module):
    """Learns within a short training; the attack network of the paper takes hundreds of steps to begin to."""

    def __init__(self, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.device("meta"):
            layers = nn.Sequential(nn.Linear(2 * n_classes, 16), nn.ReLU(), nn.Linear(16, 1))
        self.layers = layers.to_empty(device="cpu")
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        joined = torch.cat([logits, F.one_hot(y, logits.shape[1]).to(logits.dtype)], 1)
        return torch.sigmoid(self.layers(joined)[:, 0])


def test_advreg_moves_members_away_from_what_the_attack_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("membrane.defenses.advreg.MembershipAttack", SmallAttack)
    plan = recipe_with(AdvReg(10.0, attack_steps=3, attack_lr=0.01))
    one, other = (fit(plan, MEMBERS, part, 0).model for part in (HOLDOUT, HOLDOUT[:15]))
    assert weight_bits(one) != weight_bits(other), "the holdout shapes the weights"
    before, after = (
        F.cross_entropy(logits_of(model, MEMBERS), MEMBERS.y).item() for model in (training(Defense()).model, one)
    )
    assert after > before + 0.1, (before, after)


def test_advreg_refuses_to_do_without_a_holdout() -> None:
    assert AdvReg(0.0).mistakes(recipe_with(Defense()), 60, 0) == []
    with pytest.raises(SettingError, match=r"there are 0\. Set holdout"):
        fit(recipe_with(AdvReg()), MEMBERS, None, 0)


def test_the_student_loss_by_hand() -> None:
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64)
    student = _Student(1.0, MEMBERS[:3], teacher.log() + 3)
    p = torch.softmax(LOGITS, 1).tolist()
    expected = [
        sum(t * math.log(t / q) for t, q in zip(*row, strict=True)) for row in zip(teacher.tolist(), p, strict=True)
    ]
    assert student.loss(LOGITS, BATCH, 0).tolist() == pytest.approx(expected)
    assert expected[1] == pytest.approx(0)
    warm = _Student(2.0, MEMBERS[:3], 2 * teacher.log())
    assert warm.loss(2 * LOGITS, BATCH, 0).tolist() == pytest.approx(expected), "at temperature 2"
    z = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: student.loss(one, BATCH, 0), z)


def holdout(n: int = 60) -> Examples:
    return TEST[:n]


def test_the_student_sees_the_surest_of_the_holdout_and_no_member() -> None:
    recipe = recipe_with(DMP(share=0.5))
    defense = DMP(share=0.5).prepared(
        Start(recipe.model.build(MEMBERS, torch_generator(0)), MEMBERS, holdout(), recipe, 0, torch.device("cpu"))
    )
    assert isinstance(defense, _Student)
    teacher = fit(Recipe(**{**vars(recipe_with(Defense())), "keep": 2}), MEMBERS, None, derive_seed(0, "teacher")).model
    logits = logits_of(teacher, holdout())
    p = torch.softmax(logits, 1)
    order = torch.special.entr(p).sum(1).argsort()[:30]
    assert sorted(defense.reference.y.tolist()) == sorted(holdout().y[order].tolist())
    torch.testing.assert_close(defense.teacher, logits[order])


def test_the_student_knows_what_the_teacher_knows_and_members_less_well() -> None:
    def loss_and_accuracy(defense: Defense) -> tuple[float, float]:
        model = fit(recipe_with(defense), MEMBERS, holdout(100), 0).model
        others = TEST[100:]
        members = F.cross_entropy(logits_of(model, MEMBERS), MEMBERS.y).item()
        return members, (logits_of(model, others).argmax(1) == others.y).float().mean().item()

    (before, _), (after, accuracy) = loss_and_accuracy(Defense()), loss_and_accuracy(DMP())
    assert after > before + 0.2
    assert accuracy > 0.5, "chance is a third"


def test_dmp_refuses_too_small_a_holdout() -> None:
    with pytest.raises(SettingError, match="4 are kept of 5"):
        fit(recipe_with(DMP(share=0.9)), MEMBERS, HOLDOUT[:5], 0)


def test_pptp_does_not_choose_on_a_holdout_that_was_trained_on() -> None:
    for base in (AdvReg(), DMP(), MixupMMD()):
        with pytest.raises(SettingError, match=f"{base.name}.*trains on the holdout"):
            PPTP(base=base)
    assert PPTP(base=HAMPTraining()).trained_as() == HAMPTraining()
