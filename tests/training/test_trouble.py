"""Trainings that go wrong: no memory, numbers that stop being finite, functions whose models answer by chance."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core import OutOfMemoryError, Store
from membrane.core.device import working_on
from membrane.core.errors import ModelError, TrainingError
from membrane.core.memory import free_bytes, ran_out
from membrane.core.store import read_json
from membrane.data import Examples, Task
from membrane.data.loader import Batch
from membrane.models import MLP, signals_of
from membrane.regions import load_state
from membrane.training import Defense, Recipe, fit, train_fleet
from membrane.training.divergence import DivergedError
from membrane.training.fleet import finished_rows
from membrane.training.memory import asking_memory, measured, need_of
from tests import processes
from tests.training import jobs, shortage
from tests.training.jobs import N_MODELS, examples, recipe, small_recipe, weight_bits

MEMBERS = examples(60)
limited = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS as Linux keeps it")


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


# Memory.


@pytest.mark.slow
@limited
def test_a_batch_that_does_not_fit_is_an_error_that_names_one_that_does(tmp_path: Path) -> None:
    processes.finish(processes.start(shortage.train_with_little_memory, tmp_path / "told.json"))
    told = read_json(tmp_path / "told.json")
    assert "memory ran out in training (DefaultCPUAllocator: can't allocate memory" in told["said"]
    assert "it is 40000), with lr to match" in told["said"]
    assert 64 <= told["named"] <= 20_000
    assert told["again"] == "", "what the error names has to fit"
    assert "No batch_size fits: take a smaller network; keep = 2 would make the trail smaller" in told["network"]


@pytest.mark.slow
@limited
def test_signals_are_measured_in_halves_until_they_fit(tmp_path: Path) -> None:
    processes.finish(processes.start(shortage.measure_with_little_memory, tmp_path / "told.json"))
    told = read_json(tmp_path / "told.json")
    sizes = told["asked"]
    assert sizes[:2] == [125, 62]
    assert sizes[-1] < 31 <= 130
    assert told["same"]
    assert "memory ran out while the model answered a single input" in told["said"]


def test_enough_memory_measures_as_ever() -> None:
    model = fit(small_recipe(), MEMBERS, None, 0).model
    np.testing.assert_array_equal(measured(model, MEMBERS).loss, signals_of(model, MEMBERS).loss)


def test_a_function_that_runs_out_of_memory_is_named(tmp_path: Path, task: Task) -> None:
    def greedy(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        torch.empty(10**15)
        raise AssertionError("no machine has so much")

    with pytest.raises(OutOfMemoryError, match=r"memory ran out in greedy\(\) \(DefaultCPUAllocator.*are kept"):
        train_fleet(greedy, task, Store(tmp_path), seed=0)


def test_other_errors_of_a_function_stay_what_they_are(tmp_path: Path, task: Task) -> None:
    def wrong(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train_fleet(wrong, task, Store(tmp_path), seed=0)


@pytest.mark.parametrize(
    ("problem", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_is_told_from_other_errors(problem: Exception, is_one: bool) -> None:
    outer = ModelError("the model cannot take inputs")
    outer.__cause__ = problem
    assert ran_out(problem) == ran_out(outer) == is_one


def test_the_need_grows_with_batch_network_and_trail() -> None:
    base = need_of(recipe(), MEMBERS)
    wide = need_of(small_recipe(model=MLP((512,))), MEMBERS)
    assert wide.network > base.network
    assert need_of(recipe(keep=2, epochs=30), MEMBERS).trail < need_of(recipe(keep=12, epochs=30), MEMBERS).trail
    assert base.bytes_of(100) - base.bytes_of(10) == 90 * base.example
    room = base.bytes_of(100)
    assert base.largest_batch(room) == 64
    assert base.largest_batch(0) == 0
    assert free_bytes(torch.device("cpu")) is None or free_bytes(torch.device("cpu")) > 0


def test_memory_that_runs_out_while_a_model_is_asked_says_where_and_what_to_do() -> None:
    with pytest.raises(OutOfMemoryError, match=r"on cpu in reading 'x' \(full.*smaller network") as found:
        _run_out("reading 'x'")
    assert "device" not in str(found.value)
    with working_on(torch.device("meta")), pytest.raises(OutOfMemoryError, match=r'on meta in it.*device = "cpu"'):
        _run_out("it")
    with pytest.raises(KeyError), asking_memory("it"):
        raise KeyError


def _run_out(what: str) -> None:
    with asking_memory(what):
        raise torch.OutOfMemoryError("full")


@pytest.mark.gpu
def test_a_gpu_that_is_full_when_it_is_asked_says_what_is_free() -> None:
    with (
        working_on(torch.device("cuda")),
        pytest.raises(OutOfMemoryError, match=r'on cuda in it .* are free\).*device = "cpu"'),
        asking_memory("it"),
    ):
        torch.empty(1 << 44, dtype=torch.uint8, device="cuda")


@pytest.mark.gpu
def test_an_accelerator_that_is_full_names_a_batch_that_fits() -> None:
    cuda = torch.device("cuda")
    torch.cuda.set_per_process_memory_fraction(0.02)
    large = Recipe(model=jobs.ResNet((128, 128), (2, 2)), epochs=1, batch_size=60_000)
    try:
        with pytest.raises(OutOfMemoryError, match=r"memory ran out in training.*Set batch_size = \d+"):
            fit(large, examples(60_000), None, 0, cuda)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# Numbers that stop being finite.


@dataclass(frozen=True)
class Breaking(Defense):
    """Goes wrong in one epoch: in the loss of its third batch, in the weights within it, or at its end."""

    name: ClassVar[str] = "breaking"
    where: str = "loss"
    epoch: int = 1

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        bad = self.where == "loss" and epoch == self.epoch and 7 in batch.index
        return super().loss(logits, batch, epoch) * (torch.nan if bad else 1)

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        bad = self.where == "inputs" and epoch == self.epoch
        return Batch(batch.x * torch.inf, batch.y, batch.index) if bad else batch

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        super().step(model, optimizer, loss)
        if self.where == "step" and len(self.seen(optimizer)) and optimizer.param_groups[0]["lr"] < 0.06:
            with torch.no_grad():
                list(model.parameters())[2].view(-1)[0] = torch.nan

    def seen(self, optimizer: torch.optim.Optimizer) -> list[object]:
        return list(optimizer.state)

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if self.where == "end" and epoch == self.epoch:
            with torch.no_grad():
                next(model.parameters()).fill_(torch.inf)


CAUSES = {
    "loss": r"batch \d of 4, learning rate 0\.0\d+: the loss is nan although all weights are finite \(the largest is",
    "inputs": "batch 0 of 4, learning rate 0.1: the batch's inputs hold NaN or infinity",
    "end": r"learning rate 0.0691 at its end: the weights went first: '\S+' holds NaN or infinity \(1 of 4 tensors\)",
}


@pytest.mark.parametrize("where", CAUSES)
def test_divergence_says_when_how_fast_and_what_went_first(where: str) -> None:
    with pytest.raises(DivergedError, match=rf"(?s)diverged in epoch 1 of 3, .*{CAUSES[where]}") as broken:
        fit(small_recipe(defense=Breaking(where)), MEMBERS, None, 0)
    assert broken.value.epoch == 1
    assert isinstance(broken.value, TrainingError)


def test_weights_that_break_within_an_epoch_are_named() -> None:
    with pytest.raises(DivergedError, match=r"epoch 0 of 3, batch 1 of 4.*weights went first: '\S+' holds NaN"):
        fit(small_recipe(defense=Breaking("step")), MEMBERS, None, 0)


@pytest.mark.parametrize("where", CAUSES)
@pytest.mark.parametrize("keep", [2, None])
def test_the_last_good_state_is_kept(where: str, keep: int | None) -> None:
    """Exactly the weights that the same training had after the epoch before."""
    plain = small_recipe(epochs=6, keep=keep, model=jobs.ResNet((4, 4), (1, 1)))
    with pytest.raises(DivergedError) as broken:
        fit(plain.with_defense(Breaking(where, 3)), MEMBERS, None, 0)
    good = broken.value.last_good
    assert good is not None
    whole = fit(small_recipe(epochs=6, keep=None, model=jobs.ResNet((4, 4), (1, 1))), MEMBERS, None, 0)
    for name, value in whole.trail.at(2).items():
        assert torch.equal(good[name], value), name
    load_state(whole.model, good)
    assert torch.isfinite(whole.model(MEMBERS.x.float() / 255)).all()


def test_nothing_is_kept_of_a_training_that_broke_at_once() -> None:
    with pytest.raises(DivergedError) as broken:
        fit(small_recipe(defense=Breaking("loss", 0)), MEMBERS, None, 0)
    assert broken.value.last_good is None


def test_the_watch_changes_no_bit() -> None:
    plain = fit(small_recipe(), MEMBERS, None, 0)
    watched = fit(small_recipe(defense=Breaking("never")), MEMBERS, None, 0)
    assert weight_bits(plain.model) == weight_bits(watched.model)


@dataclass(frozen=True)
class BreakingForSome(Defense):
    """Diverges in the second epoch where a marked example is in the training set."""

    name: ClassVar[str] = "breaking_for_some"
    pixel: int = 0

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        marked = (batch.x.flatten(1).sum(1) * 255).round().long() == self.pixel
        return super().loss(logits, batch, epoch) * (torch.nan if epoch == 1 and marked.any() else 1)


def test_a_fleet_keeps_finished_models_and_the_last_good_weights(tmp_path: Path, task: Task) -> None:
    sums = task.pool.x.flatten(1).long().sum(1)
    alone = [i for i in np.flatnonzero(~task.membership[0]) if (sums == sums[i]).sum() == 1]
    broken = small_recipe(defense=BreakingForSome(int(sums[alone[0]])))
    store = Store(tmp_path)
    with pytest.raises(DivergedError, match=r"model 1: training diverged in epoch 1 .*Models finished before are kept"):
        train_fleet(broken, task, store, seed=0)
    assert finished_rows(broken, task, store, 0) == [0]
    (key,) = store.keys("diverged")
    entry = store.load("diverged", key)
    assert (entry.facts["row"], entry.facts["epoch"]) == (1, 1)
    model = broken.model.build(task.members(1), torch.Generator())
    load_state(model, entry.tensors)
    assert F.cross_entropy(model(task.pool.x.float() / 255), task.pool.y).isfinite()


# Functions whose models cannot be audited fairly.


class Sampled(nn.Module):
    """Answers by chance, whatever mode it is in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.model(x), 0.5, training=True)


def by_the_batch(model: nn.Module) -> nn.Module:
    return nn.Sequential(model, nn.BatchNorm1d(3, track_running_stats=False))


UNFAIR: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "sampled": (Sampled, "answers the same inputs differently"),
    "by the batch": (by_the_batch, "depends on the other inputs of the batch"),
    "probabilities": (lambda model: nn.Sequential(model, nn.Softmax(1)), "returns probabilities"),
}


@pytest.mark.parametrize("name", UNFAIR)
def test_a_functions_model_that_cannot_be_audited_is_refused(name: str, tmp_path: Path, task: Task) -> None:
    wrap, said = UNFAIR[name]

    def train(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        return wrap(small_recipe(epochs=1)(members, holdout, generator))

    store = Store(tmp_path)
    with torch.random.fork_rng(), pytest.raises(ModelError, match=said):
        train_fleet(train, task, store, seed=0)
    assert list(store.keys("release")) == []


def test_a_model_left_in_training_mode_is_audited_in_evaluation_mode(tmp_path: Path, task: Task) -> None:
    def train(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        model = small_recipe(epochs=1)(members, holdout, generator)
        return nn.Sequential(model, nn.Dropout(0.5)).train()

    bank = train_fleet(train, task, Store(tmp_path), seed=0)
    assert bank.pool.shape == (N_MODELS, len(task.pool), 1)
