from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from membrane.core import OutOfMemoryError, Store
from membrane.core.errors import TrainingError
from membrane.core.generators import torch_generator
from membrane.data import Examples, Task
from membrane.data.loader import as_inputs
from membrane.defenses import EarlyStopping, LabelSmoothing, RelaxLoss, ShortSchedule
from membrane.models import MLP, VGG11, Model, PurchaseMLP, ResNet, ResNet18
from membrane.regions import copy_state
from membrane.training import Recipe, Trained, fit, fleet, keys, train_fleet, train_model, trainings
from membrane.training.divergence import DivergedError
from membrane.training.engines import Processes
from membrane.training.fleet import stack_size
from membrane.training.keys import release_key, training_key
from membrane.training.stacked import fit_stack, largest_stack, stackable
from membrane.training.stacked.net import slice_of, stack, stacks
from membrane.training.threads import threads
from tests.training import jobs
from tests.training.jobs import N_MODELS, bank_bits, recipe, small_recipe, weight_bits

IMAGES = (1, 4, 4)


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


def features(n: int = 60) -> Examples:
    generator = torch_generator(0, "features")
    y = torch.randint(3, (n,), generator=generator)
    return Examples(torch.randn(n, 12, generator=generator) + y[:, None], y, ("a", "b", "c"))


def trail_bits(one: Trained) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in one.trail.tensors().items()}


@pytest.mark.parametrize(
    ("how", "members"),
    [
        (small_recipe(model=MLP((8, 8))), jobs.examples(60)),
        (small_recipe(model=MLP((8,)), augment=True), jobs.examples(60)),
        (small_recipe(model=MLP((300, 8)), batch_size=64, keep=2), jobs.examples(200)),
        (small_recipe(model=PurchaseMLP((16, 8))), features()),
        (small_recipe(defense=ShortSchedule(2)), features()),
    ],
)
def test_perceptrons_end_where_trainings_alone_do(how: Recipe, members: Examples) -> None:
    each = [members[start : len(members) - 5 + start] for start in range(5)]
    together = fit_stack(how, each, None, range(5))
    for seed, (own, one) in enumerate(zip(each, together, strict=True)):
        alone = fit(how, own, None, seed)
        for mine, theirs in (
            (one.model.state_dict(), alone.model.state_dict()),
            (one.trail.tensors(), alone.trail.tensors()),
        ):
            assert mine.keys() == theirs.keys()
            for name, value in mine.items():
                torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5)
        assert alone.recipe == one.recipe
        assert not one.model.training


@pytest.mark.parametrize("model", [ResNet((4, 8), (1, 1)), ResNet((4, 8), (1, 1), norm="group"), VGG11(dropout=0.0)])
def test_a_stack_answers_and_learns_as_its_networks_do(model: Model) -> None:
    """One update each, in training mode, batch statistics included: equal to 1 part in 100 000."""
    if isinstance(model, VGG11):
        model = VGG11((4, 8), (1, 1), hidden=8, dropout=0.0)
    nets = [model.fresh(IMAGES, 3, torch_generator(seed)).train() for seed in range(3)]
    for net in nets:
        net.get_submodule("normalize").fit(jobs.examples(10).x)  # type: ignore[operator]
    assert all(stacks(child) for name, child in nets[0].named_children() if not name.startswith("hidden"))
    whole = stack(nets)
    x = [as_inputs(jobs.examples(10, seed).x) for seed in range(3)]
    answers = whole(torch.cat(x, dim=1))
    torch.stack([answer.square().mean() for answer in answers]).sum().backward()
    gradients = {name: value.grad for name, value in whole.named_parameters() if value.grad is not None}
    for number, (net, own) in enumerate(zip(nets, x, strict=True)):
        alone = net(own)
        alone.square().mean().backward()
        torch.testing.assert_close(answers[number], alone, rtol=1e-5, atol=1e-6)
        like = copy_state(net)
        for name, value in slice_of(copy_state(whole), like, number, 3).items():
            torch.testing.assert_close(value, like[name], rtol=1e-5, atol=1e-6)
        for name, value in slice_of(gradients, like, number, 3).items():
            torch.testing.assert_close(value, net.get_parameter(name).grad, rtol=1e-4, atol=1e-6)


def test_who_else_is_in_a_stack_changes_no_bit() -> None:
    each = [jobs.examples(60, seed) for seed in range(4)]
    whole = fit_stack(recipe(augment=True), each, None, range(4))
    for rows in ([2], [3, 0], [1, 2, 3]):
        some = fit_stack(recipe(augment=True), [each[row] for row in rows], None, rows)
        for row, one in zip(rows, some, strict=True):
            assert weight_bits(whole[row].model) == weight_bits(one.model)
            assert trail_bits(whole[row]) == trail_bits(one)
    assert len({str(weight_bits(one.model)) for one in whole}) == 4


def test_a_convolutional_stack_trains_as_well_as_trainings_alone() -> None:
    members = jobs.examples(90)
    how = recipe(epochs=2, lr=0.01)
    one = fit_stack(how, [members, members], None, [0, 1])[0]
    alone = fit(how, members, None, 0)
    for name, value in copy_state(alone.model).items():
        torch.testing.assert_close(copy_state(one.model)[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "together"),
    [
        ({}, True),
        ({"augment": True}, True),
        ({"model": ResNet((4, 4), (1, 1))}, True),
        ({"defense": EarlyStopping(1)}, True),
        ({"defense": ShortSchedule(2)}, True),
        ({"defense": RelaxLoss(0.5)}, False),
        ({"defense": LabelSmoothing(0.1)}, False),
        ({"precision": "bfloat16"}, False),
        ({"compile": True}, False),
        ({"start": __file__}, False),
        ({"trainable": ("head",)}, False),
        ({"model": VGG11((4, 8), (1, 1), hidden=8)}, False),  # dropout draws
        ({"model": ResNet18()}, False),  # too large to gain
        ({"batch_size": 2**22}, False),
    ],
)
def test_only_what_can_be_and_gains_by_it_is_stacked(change: dict[str, Any], together: bool) -> None:
    shape = (1, 16, 16) if isinstance(change.get("model"), VGG11) else IMAGES
    assert stackable(small_recipe(**change), shape, 3) is together


def test_a_fleet_is_stacked_and_each_model_can_be_had_alone(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real: Callable[..., list[Trained]] = trainings.fit_stack

    def fit_stack(how: Recipe, members: list[Examples], *rest: Any) -> list[Trained]:  # noqa: ANN401
        trained.append(len(members))
        return real(how, members, *rest)

    monkeypatch.setattr(trainings, "fit_stack", fit_stack)
    for number, how in enumerate((recipe(), small_recipe())):
        whole = train_fleet(how, task, Store(tmp_path / f"whole{number}"), 0)
        store = Store(tmp_path / f"parts{number}")
        one = train_model(how, task, store, 0, 1)
        train_fleet(how, task, store, 0, rows=[3])
        assert bank_bits(train_fleet(how, task, store, 0)) == bank_bits(whole)
        assert weight_bits(one.model) == weight_bits(train_model(how, task, store, 0, 1).model)
    assert trained == [N_MODELS, 1, 1, 2] * 2


def test_a_stack_is_so_small_that_a_kill_costs_minutes() -> None:
    sizes = [largest_stack(small_recipe(epochs=epochs), IMAGES, 3, 100) for epochs in (1, 10**7, 10**10)]
    assert sizes[0] == 16
    assert 2 < sizes[1] < 16
    assert sizes[2] == 2  # the smallest there is: one model is trained as two
    assert largest_stack(small_recipe(epochs=10**10, defense=ShortSchedule(1)), IMAGES, 3, 100) == 16


def test_a_fleet_is_cut_into_stacks_by_size_and_by_what_trains_at_once(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [stack_size(recipe(), task, 4, at_once) for at_once in (1, 2, 3, 9)] == [4, 2, 2, 1]
    assert [stack_size(recipe(), task, n, 1) for n in (0, 1, 99)] == [1, 1, 16]
    assert stack_size(recipe(defense=RelaxLoss(0.5)), task, 4, 1) == 1
    monkeypatch.setattr(fleet, "largest_stack", lambda *_: 3)
    assert stack_size(recipe(), task, 99, 1) == 3


@pytest.mark.slow
def test_processes_share_stacks(tmp_path: Path, task: Task) -> None:
    here = train_fleet(recipe(), task, Store(tmp_path / "here"), 0)
    told: list[float] = []
    engine = Processes(threads=1, workers=2)
    there = train_fleet(
        recipe(), task, Store(tmp_path / "there"), 0, lambda _, done, __: told.append(done), engine=engine
    )
    assert bank_bits(here) == bank_bits(there)
    assert told[-1] == N_MODELS


def test_the_key_knows_stacks(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {how: training_key(how, task, 0, 0) for how in (recipe(), small_recipe())}
    assert training_key(small_recipe(defense=EarlyStopping(1)), task, 0, 0) == before[small_recipe()]
    monkeypatch.setattr(keys, "stackable", lambda *_: False)
    for how, key in before.items():
        assert training_key(how, task, 0, 0) != key


def test_a_stack_computes_with_one_thread_and_its_releases_with_all(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = nn.Module.__call__

    def call(net: nn.Module, *rest: Any) -> Any:  # noqa: ANN401
        seen.append(torch.get_num_threads())
        return real(net, *rest)

    with threads(2):
        monkeypatch.setattr(nn.Module, "__call__", call)
        two = fit_stack(recipe(), [task.members(0), task.members(1)], None, [0, 1])
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        keys_of_two = [key(how, task, 0, 0) for key in (training_key, release_key) for how in (recipe(), alone(0.5))]
    with threads(1):
        one = fit_stack(recipe(), [task.members(0), task.members(1)], None, [0, 1])
        keys_of_one = [key(how, task, 0, 0) for key in (training_key, release_key) for how in (recipe(), alone(0.5))]
    assert weight_bits(one[0].model) == weight_bits(two[0].model)
    assert [a == b for a, b in zip(keys_of_one, keys_of_two, strict=True)] == [True, False, False, False]


def alone(alpha: float) -> Recipe:
    """One that is not stacked."""
    return recipe(defense=RelaxLoss(alpha))


def test_a_stack_that_diverges_names_the_model(tmp_path: Path, task: Task) -> None:
    with pytest.raises(DivergedError, match="model 0: training diverged in epoch"):
        train_fleet(small_recipe(lr=1e6, epochs=9), task, Store(tmp_path), 0)
    with pytest.raises(TrainingError):
        fit_stack(small_recipe(lr=1e6, epochs=9), [task.members(0), task.members(1)], None, [0, 1])


def test_a_stack_that_does_not_fit_into_memory_is_halved(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_fleet(small_recipe(), task, Store(tmp_path / "whole"), 0)
    real: Callable[..., list[Trained]] = trainings.fit_stack
    sizes: list[int] = []

    def short(how: Recipe, members: list[Examples], *rest: Any) -> list[Trained]:  # noqa: ANN401
        sizes.append(len(members))
        if len(members) > 2:
            raise OutOfMemoryError("memory ran out")
        return real(how, members, *rest)

    monkeypatch.setattr(trainings, "fit_stack", short)
    assert bank_bits(train_fleet(small_recipe(), task, Store(tmp_path / "halves"), 0)) == bank_bits(whole)
    assert sizes == [4, 2, 2]


def test_models_with_fewer_members_are_in_another_stack(tmp_path: Path, task: Task) -> None:
    membership = task.membership.copy()
    membership[0, membership[0].nonzero()[0][:7]] = False
    uneven = dataclasses.replace(task, membership=membership)
    bank = train_fleet(small_recipe(), uneven, Store(tmp_path), 0)
    assert bank.pool.shape[0] == N_MODELS
