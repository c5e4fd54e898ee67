"""Protection of chosen regions: gradients go where they are sent, and what is frozen stays."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from membrane.core import SettingError
from membrane.core.generators import torch_generator
from membrane.data.loader import Batch
from membrane.defenses import (
    CCL,
    CRL,
    KCD,
    SAM,
    SELENA,
    AdvReg,
    ConfidencePenalty,
    Defense,
    EarlyStopping,
    FocalLoss,
    HAMPTraining,
    LabelSmoothing,
    Mixup,
    MixupMMD,
    NeuGuard,
    RelaxLoss,
    Rounding,
    ShortSchedule,
)
from membrane.models import logits_of
from membrane.pptp import PPTP, GradientRouting, RewindRefit
from membrane.pptp.routing import _Routed
from membrane.regions import copy_state, partition
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, TEST, recipe_with, training
from tests.training.jobs import weight_bits

CUT = partition(training(Defense()).model, MEMBERS.x[:2].float() / 255)
LATE = (CUT.names[-1],)
LOSSES = [
    LabelSmoothing(0.3),
    ConfidencePenalty(0.5),
    FocalLoss(2.0),
    RelaxLoss(0.7),
    HAMPTraining(0.9, 0.1),
    CCL(0.3),
    CRL(0.9, weight=0.0),
    NeuGuard(0.1, 1.0),
]


def short(defense: Defense, epochs: int = 3) -> Recipe:
    return Recipe(**{**vars(recipe_with(defense)), "epochs": epochs})


@pytest.mark.parametrize("inner", [*LOSSES, SELENA(3, 1), KCD(1.0, 3)], ids=lambda one: one.name)
def test_none_is_plain_and_all_is_the_inner_defense_bit_for_bit(inner: Defense) -> None:
    none, every, plain, whole = (
        weight_bits(fit(short(one), MEMBERS, HOLDOUT, 0).model)
        for one in (GradientRouting((), inner), GradientRouting(CUT.names, inner), Defense(), inner)
    )
    assert none == plain
    assert every == whole
    assert plain != whole


@pytest.mark.parametrize("inner", LOSSES, ids=lambda one: one.name)
def test_an_update_takes_each_gradient_where_it_is_sent(inner: Defense) -> None:
    plan = short(GradientRouting(LATE, inner))
    model = plan.model.build(MEMBERS, torch_generator(0)).train()
    start = Start(model, MEMBERS, HOLDOUT, plan, 0, torch.device("cpu"))
    routed = GradientRouting(LATE, inner).prepared(start)
    assert isinstance(routed, _Routed)
    x, y = MEMBERS.x[:16].float() / 255, MEMBERS.y[:16]
    batch = routed.batch(Batch(x, y, torch.arange(16)), 0, torch_generator(0))
    loss = routed.loss(model(x), batch, 0).mean()
    named = dict(model.named_parameters())
    slopes = {
        key: torch.autograd.grad(loss if key in CUT.keys(LATE) else routed.plain, value, retain_graph=True)[0]
        for key, value in named.items()
    }
    before = {key: value.detach().clone() for key, value in named.items()}
    torch.testing.assert_close(routed.plain, F.cross_entropy(model.eval()(x), y), rtol=1, atol=1)
    routed.step(model, torch.optim.SGD(model.parameters(), 0.1), loss)
    for key, value in named.items():
        torch.testing.assert_close(value.detach(), before[key] - 0.1 * slopes[key])
    assert slopes.keys() & CUT.keys(LATE)
    assert slopes.keys() - CUT.keys(LATE)


def test_what_is_more_than_a_loss_is_refused() -> None:
    for inner in (Mixup(), ShortSchedule(2), EarlyStopping(1), Rounding(), AdvReg(), MixupMMD(), PPTP()):
        with pytest.raises(SettingError, match=f"cannot route '{inner.name}'"):
            GradientRouting(LATE, inner)
    for inner in (CRL(), SAM()):  # known once they are set up for a network
        with pytest.raises(SettingError, match="it moves more than the network"):
            fit(short(GradientRouting(LATE, inner)), MEMBERS, None, 0)
    with pytest.raises(SettingError, match="no region is called 'nowhere'"):
        fit(short(GradientRouting(("nowhere",), CCL())), MEMBERS, None, 0)
    assert len(GradientRouting(LATE, SELENA(10, 9)).mistakes(short(Defense()), 100, 0)) == 1
    assert PPTP(base=GradientRouting(LATE, CCL())).trained_as() == GradientRouting(LATE, CCL())


def test_the_head_alone_keeps_members_from_being_sure() -> None:
    def members_loss(regions: tuple[str, ...]) -> float:
        model = fit(recipe_with(GradientRouting(regions, LabelSmoothing(0.5))), MEMBERS, None, 0).model
        return F.cross_entropy(logits_of(model, MEMBERS), MEMBERS.y).item()

    assert members_loss(LATE) > members_loss(()) + 0.05


@pytest.mark.parametrize("side", ["rest", "rewound"])
def test_a_refit_moves_one_side_and_leaves_the_other(side: str) -> None:
    done = training(Defense())
    defense = RewindRefit(LATE, 0, 1, side=side, inner=LabelSmoothing(0.3), epochs=3)  # type: ignore[arg-type]
    model = defense.finish(done, torch_generator(0)).model
    found, final, window = copy_state(model), copy_state(done.model), done.trail.window(0, 1)
    rewound = CUT.keys(LATE)
    for name, _ in model.named_parameters():
        stays = window[name] if name in rewound else final[name]
        assert torch.equal(found[name], stays) is ((name in rewound) is (side == "rest")), name
    assert (logits_of(model, TEST).argmax(1) == TEST.y).float().mean() > 0.45, "chance is a third"
    assert weight_bits(defense.finish(done, torch_generator(0)).model) == weight_bits(model)
    assert all(torch.equal(copy_state(done.model)[key], value) for key, value in final.items())


@pytest.mark.parametrize("inner", [*LOSSES, SELENA(3, 1), KCD(1.0, 3), Mixup()], ids=lambda one: one.name)
def test_a_refit_trains_under_any_protector(inner: Defense) -> None:
    done = training(Defense())
    defense, plain = (RewindRefit(LATE, 0, 1, inner=one, epochs=2) for one in (inner, Defense()))
    model, other = (one.finish(done, torch_generator(0)).model for one in (defense, plain))
    found, window = copy_state(model), done.trail.window(0, 1)
    assert all(torch.equal(found[name], window[name]) for name in CUT.keys(LATE) if "num_batches" not in name)
    assert weight_bits(model) != weight_bits(other)
    assert all(torch.isfinite(value).all() for value in found.values())


def test_a_refit_says_what_stands_in_its_way() -> None:
    with pytest.raises(SettingError, match=r"(?s)4 mistakes.*regions.*first.*epochs.*lr"):
        RewindRefit((), 3, 2, epochs=0, lr=0.0)
    for inner in (Rounding(), AdvReg(), PPTP()):
        with pytest.raises(SettingError, match=f"cannot train with '{inner.name}'"):
            RewindRefit(LATE, inner=inner)
    assert "no window 2 to 400" in RewindRefit(LATE, 2, 400).mistakes(short(Defense()), 60, 0)[0]
    with pytest.raises(SettingError, match="no region is called 'nowhere'"):
        RewindRefit(("nowhere",), 0, 1).finish(training(Defense()), torch_generator(0))
