"""SAM and SWA: an update and an average the slow way, and what they leave behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data.loader import Batch
from membrane.defenses import SAM, SWA, Defense
from membrane.defenses.sam import _still_statistics, _Uphill
from membrane.regions import copy_state, load_state, recalibrate
from membrane.training import Recipe, Start, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.training.jobs import recipe


def test_an_update_takes_the_gradient_from_uphill() -> None:
    plan = recipe()
    model = plan.model.build(MEMBERS, torch_generator(0)).train()
    other = copy.deepcopy(model)
    x, y = MEMBERS.x[:16].float() / 255, MEMBERS.y[:16]
    rho, lr = 0.3, 0.1
    defense = SAM(rho).prepared(Start(model, MEMBERS, HOLDOUT, plan, 0, torch.device("cpu")))
    assert isinstance(defense, _Uphill)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    defense.step(model, optimizer, defense.loss(model(x), Batch(x, y, torch.arange(16)), 0).mean())

    start = [p.detach().clone() for p in other.parameters()]
    gradients = torch.autograd.grad(F.cross_entropy(other(x), y), list(other.parameters()))
    length = sum(float(g.square().sum()) for g in gradients) ** 0.5
    statistics = {key: value.clone() for key, value in other.named_buffers()}
    with torch.no_grad():
        for p, g in zip(other.parameters(), gradients, strict=True):
            p += rho * g / length
    uphill = torch.autograd.grad(F.cross_entropy(other(x), y), list(other.parameters()))
    for found, before, gradient in zip(model.parameters(), start, uphill, strict=True):
        torch.testing.assert_close(found.detach(), before - lr * gradient, rtol=1e-4, atol=1e-6)
    for key, value in model.named_buffers():
        torch.testing.assert_close(value, statistics[key], msg=f"{key}: of the first pass alone")


def test_statistics_come_back_even_after_an_error() -> None:
    model = recipe().model.build(MEMBERS, torch_generator(0)).train()
    before = copy_state(model)
    with pytest.raises(RuntimeError), _still_statistics(model):
        model(MEMBERS.x[:8].float())[:, 99:].view(7)
    after = copy_state(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    model(MEMBERS.x[:8].float() / 255)
    moved = copy_state(model)
    assert all(not torch.equal(moved[key], before[key]) for key in before if key.endswith("running_mean"))


def test_sam_ends_where_the_loss_around_is_lower() -> None:
    def around(defense: Defense) -> float:
        model = fit(recipe_with(defense), MEMBERS, None, 0).model
        return sharpness(model)

    assert around(SAM(0.1)) < around(Defense())


def sharpness(model: nn.Module, rho: float = 0.5) -> float:
    """How much the members' loss rises on the step uphill that SAM looks at."""
    x, y = MEMBERS.x.float() / 255, MEMBERS.y
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = F.cross_entropy(model(x), y)
    gradients = torch.autograd.grad(loss, parameters)
    length = torch.stack([g.norm() for g in gradients]).norm()
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p += rho * g / length
        return float(F.cross_entropy(model(x), y) - loss)


def test_swa_is_the_mean_of_the_last_epochs_at_a_constant_rate() -> None:
    plan = Recipe(**{**vars(recipe_with(SWA(3, 0.02))), "epochs": 6})
    rates: list[float] = []
    ends: list[dict[str, Tensor]] = []

    class Slow(Defense):
        """Sets the rate and remembers the ends, averaging nothing."""

        def wrap(self, model, optimizer, loader):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.optimizer = optimizer
            return model, optimizer, loader

        def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
            if epoch >= 3:
                self.optimizer.param_groups[0]["lr"] = 0.02
            return batch

        def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
            rates.append(optimizer.param_groups[0]["lr"])
            super().step(model, optimizer, loss)

        def end_epoch(self, model: nn.Module, epoch: int) -> None:
            ends.append(copy_state(model))

    fit(plan.with_defense(Slow()), MEMBERS, None, 0)
    done = fit(plan, MEMBERS, None, 0)
    assert rates[-1] == 0.02
    means = {name: torch.stack([end[name] for end in ends[3:]]).mean(0) for name, _ in done.model.named_parameters()}
    for name, value in done.model.named_parameters():
        torch.testing.assert_close(value.detach(), means[name], rtol=1e-5, atol=1e-6)
    released = SWA(3, 0.02).finish(done, torch_generator(0))
    expected = plan.model.build(MEMBERS, torch_generator(0)).eval()
    load_state(expected, copy_state(done.model))
    recalibrate(expected, MEMBERS.x)
    for key, value in copy_state(released.model).items():
        torch.testing.assert_close(value, copy_state(expected)[key], rtol=0, atol=1e-4)
    assert released.facts == {"averaged": 3}
