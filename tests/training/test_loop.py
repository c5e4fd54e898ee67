from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import SettingError, TrainingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import Batch, Loader
from membrane.defenses import EarlyStopping, ShortSchedule
from membrane.models import MLP, ResNet, ViT, laid_out
from membrane.regions import copy_state, load_state
from membrane.training import Defense, Finished, Recipe, Trained, fit
from tests.training.jobs import examples, recipe, small_recipe, weight_bits

MEMBERS, HOLDOUT = examples(60), examples(20, seed=1)


def trained(settings: Recipe, seed: int = 0) -> Trained:
    return fit(settings, MEMBERS, HOLDOUT, seed)


def trail_bits(done: Trained) -> list[bytes]:
    return [value.numpy().tobytes() for value in done.trail.tensors().values()]


@pytest.mark.parametrize(
    "settings",
    [
        recipe(epochs=2),
        recipe(epochs=2, augment=True),
        recipe(epochs=2, model=ViT(patch=2, width=6, depth=1, heads=2)),
        small_recipe(),
    ],
    ids=["resnet", "augmented", "vit", "mlp"],
)
def test_same_seed_same_bits_other_seed_other_bits_global_state_untouched(settings: Recipe) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    first = trained(settings)
    torch.rand(3)
    torch.set_rng_state(torch_state)
    again, other = trained(settings), trained(settings, seed=1)
    assert weight_bits(first.model) == weight_bits(again.model) != weight_bits(other.model)
    assert trail_bits(first) == trail_bits(again) != trail_bits(other)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_the_loop_equals_one_written_by_hand() -> None:
    settings = recipe(epochs=3, augment=True, lr=0.05, momentum=0.8, weight_decay=1e-3)
    done = trained(settings, seed=7)
    model = laid_out(settings.model.build(MEMBERS, torch_generator(7, "weights")))
    order, buffers = torch_generator(7, "order"), [torch.zeros_like(p) for p in model.parameters()]
    ends, means, step = [], [], 0
    for _ in range(3):
        updates = []
        model.train()
        for batch in Loader(MEMBERS, 16, augment=True).epoch(order):
            lr = 0.05 * (step + 1) / 4 if step < 4 else 0.025 * (1 + math.cos(math.pi * (step - 4) / 8))
            model.zero_grad()
            F.cross_entropy(model(batch.x), batch.y).backward()
            with torch.no_grad():
                for parameter, buffer in zip(model.parameters(), buffers, strict=True):
                    assert parameter.grad is not None
                    gradient = parameter.grad + 1e-3 * parameter
                    buffer.mul_(0.8).add_(gradient)
                    parameter -= lr * (gradient + 0.8 * buffer)
            updates.append(copy_state(model))
            step += 1
        ends.append(updates[-1])
        means.append({key: torch.stack([one[key].float() for one in updates]).mean(0) for key in updates[0]})
    assert step == 12
    for key, value in copy_state(done.model).items():
        torch.testing.assert_close(value, ends[-1][key], rtol=1e-4, atol=1e-5)
    for epoch in range(3):
        for key, value in done.trail.window(epoch, epoch).items():
            torch.testing.assert_close(value, means[epoch][key], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(done.trail.at(epoch)[key], ends[epoch][key], rtol=1e-4, atol=1e-5)


def test_bfloat16_learns_about_the_same_and_keeps_float32_weights() -> None:
    plain, half = (trained(recipe(epochs=3, precision=precision)) for precision in ("float32", "bfloat16"))
    assert {value.dtype for value in copy_state(half.model).values()} == {
        value.dtype for value in copy_state(plain.model).values()
    }
    assert weight_bits(half.model) != weight_bits(plain.model)
    start = recipe().model.build(MEMBERS, torch_generator(0, "weights"))
    at = [torch.nn.utils.parameters_to_vector(model.parameters()) for model in (start, plain.model, half.model)]
    assert (at[2] - at[1]).norm() < 0.4 * (at[1] - at[0]).norm()


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingError, match="precision is float8; it must be float32 or bfloat16"):
        recipe(precision="float8")


def test_the_learning_rate_warms_up_over_one_epoch_and_falls_by_a_cosine() -> None:
    settings = recipe(epochs=3, lr=0.4)
    rates = [settings.lr_at(step, 4) for step in range(12)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert rates[4] == pytest.approx(0.4)
    assert rates[8] == pytest.approx(0.2)
    assert rates[11] == pytest.approx(0.2 * (1 + math.cos(math.pi * 7 / 8)))
    assert settings.lr_at(12, 4) == pytest.approx(0, abs=1e-12)
    single = recipe(epochs=1, lr=0.4)
    assert single.lr_at(0, 4) == 0.4
    assert single.lr_at(2, 4) == pytest.approx(0.2)
    assert all(0 < settings.lr_at(step, 1) <= 0.4 for step in range(3))


def test_a_finished_training_is_ready_to_use() -> None:
    done = trained(recipe(epochs=2))
    assert not any(module.training for module in done.model.modules())
    assert done.model(torch.rand(2, 1, 4, 4)).shape == (2, 3)
    assert done.trail.n_epochs == 2
    assert done.members is MEMBERS
    assert done.holdout is HOLDOUT
    assert done.seconds > 0
    assert all(value.is_contiguous() for value in done.model.state_dict().values())


def test_training_learns() -> None:
    done = trained(small_recipe(epochs=20, batch_size=8))
    logits = done.model(MEMBERS.x.float() / 255)
    assert (logits.argmax(1) == MEMBERS.y).float().mean() > 0.9


@dataclass(frozen=True)
class Noting(Defense):
    """Writes down every hook that is called."""

    name: ClassVar[str] = "noting"
    calls: list[Any] = field(default_factory=list, compare=False)

    def adapt(self, recipe: Recipe) -> Recipe:
        self.calls.append("adapt")
        return recipe

    def wrap(self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader) -> Any:  # noqa: ANN401
        self.calls.append("wrap")
        assert isinstance(optimizer, torch.optim.SGD)
        return model, optimizer, loader

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        self.calls.append(("batch", epoch, len(batch.y)))
        return batch

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        self.calls.append(("targets", n_classes, epoch))
        return batch.y

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        assert model.training
        assert loss.ndim == 0
        self.calls.append(("step", round(optimizer.param_groups[0]["lr"], 9)))
        super().step(model, optimizer, loss)

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        self.calls.append(("end_epoch", epoch))

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        self.calls.append("finish")
        return Finished(trained.model)

    def release(self, model: nn.Module) -> nn.Module:
        self.calls.append("release")
        return nn.Sequential(model)


def test_every_hook_is_called_at_its_place_and_plain_ones_change_nothing() -> None:
    defense = Noting()
    settings = small_recipe(epochs=2, batch_size=32, defense=defense)
    model = settings(MEMBERS, HOLDOUT, torch_generator(0))
    batches = [
        [("batch", epoch, n), ("targets", 3, epoch), ("step", round(settings.lr_at(2 * epoch + i, 2), 9))]
        for epoch in (0, 1)
        for i, n in enumerate((32, 28))
    ]
    expected = ["adapt", "wrap", *batches[0], *batches[1], ("end_epoch", 0), *batches[2], *batches[3], ("end_epoch", 1)]
    assert defense.calls == [*expected, "finish", "release"]
    assert isinstance(model, nn.Sequential)
    plain = small_recipe(epochs=2, batch_size=32)(MEMBERS, HOLDOUT, torch_generator(0))
    assert weight_bits(model[0]) == weight_bits(plain)


@dataclass(frozen=True)
class Doubling(Defense):
    """Two epochs out of each, acting only on how the recipe is adapted."""

    name: ClassVar[str] = "doubling"

    def adapt(self, recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, epochs=2 * recipe.epochs)


@dataclass(frozen=True)
class Stacked(Defense):
    """Acts after the training of another defense."""

    name: ClassVar[str] = "stacked"
    base: Defense = field(default_factory=Doubling)

    def trained_as(self) -> Defense:
        return self.base


def test_a_stacked_defense_trains_exactly_as_its_base_does() -> None:
    """They share one place in the store, so anything else would mix up two trainings."""
    settings = small_recipe(epochs=2)
    base, stacked = settings.with_defense(Doubling()), settings.with_defense(Stacked())
    assert base.training_settings() == stacked.training_settings()
    done = trained(stacked)
    assert done.trail.n_epochs == 4
    assert weight_bits(done.model) == weight_bits(trained(base).model)


@dataclass(frozen=True)
class Breaking(Defense):
    """Loss or weights go to NaN in one epoch."""

    name: ClassVar[str] = "breaking"
    where: str = "loss"
    epoch: int = 1

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        loss = super().loss(logits, batch, epoch)
        return loss * torch.nan if self.where == "loss" and epoch == self.epoch else loss

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if self.where == "weights" and epoch == self.epoch:
            with torch.no_grad():
                next(model.parameters()).fill_(torch.inf)


@pytest.mark.parametrize("where", ["loss", "weights"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_divergence_is_an_error_that_names_the_epoch(where: str, epoch: int) -> None:
    with pytest.raises(TrainingError, match=rf"epoch {epoch}\b"):
        trained(small_recipe(defense=Breaking(where, epoch)))


def test_a_learning_rate_that_is_too_high_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"in epoch 0 of 3, batch 1 of 4.*Lower lr \(it is 1e\+30\)"):
        trained(small_recipe(lr=1e30))


def test_progress_is_told_once_an_epoch() -> None:
    told: list[tuple[int, int]] = []
    fit(small_recipe(), MEMBERS, HOLDOUT, 0, on_epoch=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    told.clear()
    defended = small_recipe(defense=ShortSchedule(2))
    fit(defended, MEMBERS, HOLDOUT, 0, on_epoch=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_features_cannot_be_augmented() -> None:
    features = Examples(torch.randn(20, 4, generator=torch_generator(0)), torch.arange(20) % 2, ("a", "b"))
    with pytest.raises(SettingError, match="Set augment = false"):
        fit(small_recipe(augment=True), features, features, 0)
    assert fit(small_recipe(), features, features, 0).trail.n_epochs == 3


def mistakes() -> Iterator[tuple[dict[str, object], str]]:
    for name, values in {
        "epochs": (0, -1),
        "batch_size": (1, 0),
        "lr": (0.0, -0.1, math.nan, math.inf),
        "momentum": (-0.1, 1.0, math.nan),
        "weight_decay": (-1e-4, math.nan, math.inf),
        "keep": (1, 0),
    }.items():
        yield from (({name: value}, f"{name} is .*; it must be") for value in values)


@pytest.mark.parametrize(("settings", "said"), list(mistakes()), ids=str)
def test_settings_that_train_nothing_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        recipe(**settings)


def test_all_mistakes_of_a_recipe_are_listed_at_once() -> None:
    with pytest.raises(SettingError, match=r"(?s)3 mistakes.*epochs is 0.*lr is -1.*keep is 0"):
        Recipe(epochs=0, lr=-1, keep=0)


def test_training_settings_hold_what_shapes_the_weights_and_nothing_that_acts_later() -> None:
    plain = recipe()
    assert plain.training_settings() == recipe(defense=EarlyStopping(1)).training_settings()
    assert plain.training_settings() != recipe(defense=ShortSchedule(3)).training_settings()
    for change in ({"epochs": 4}, {"lr": 0.2}, {"augment": True}, {"model": MLP((4,))}, {"momentum": 0.5}, {"keep": 3}):
        assert recipe(**change).training_settings() != plain.training_settings(), change


def test_a_recipe_is_a_function_from_data_to_a_model() -> None:
    settings = small_recipe(model=ResNet((4,), (1,)))
    models = [settings(MEMBERS, HOLDOUT, torch_generator(seed)) for seed in (0, 0, 1)]
    bits = [weight_bits(model) for model in models]
    assert bits[0] == bits[1] != bits[2]
    load_state(models[0], copy_state(models[2]))
