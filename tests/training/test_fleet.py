from __future__ import annotations

import dataclasses
import functools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core import Store
from membrane.core.device import working_on
from membrane.core.errors import ModelError, SettingError, StoreError, TrainingError
from membrane.core.generators import torch_generator
from membrane.core.store import Entry
from membrane.data import Examples, Task
from membrane.defenses import EarlyStopping, RelaxLoss, ShortSchedule, WeightAveraging
from membrane.models import MLP, signals_of
from membrane.training import Defense, Recipe, sweep_fleet, train_fleet, train_model, trainings
from membrane.training import keys as keys_of
from membrane.training.fleet import stack_size
from membrane.training.keys import release_key, shares_training, training_key
from tests import processes
from tests.training import jobs
from tests.training.jobs import N_MODELS, bank_bits, own_loop, small_recipe, weight_bits


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the trainings that were really done."""
    seeds: list[int] = []
    real = trainings.fit

    def fit(recipe: Recipe, members: Examples, holdout: Examples, seed: int, **rest: object) -> object:
        seeds.append(seed)
        return real(recipe, members, holdout, seed, **rest)  # type: ignore[arg-type]

    real_stack = trainings.fit_stack

    def fit_stack(recipe: Recipe, members: Any, holdout: Any, own: list[int], told: Any) -> Any:  # noqa: ANN401
        seeds.extend(own)
        return real_stack(recipe, members, holdout, own, told)

    monkeypatch.setattr(trainings, "fit", fit)
    monkeypatch.setattr(trainings, "fit_stack", fit_stack)
    return seeds


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file of each finished entry: a rewritten file has others."""
    found = {}
    for path in root.glob("*/[!.]*.json"):
        for part in (path, path.with_suffix(".safetensors")):
            found[str(part.relative_to(root))] = (part.stat().st_ino, part.stat().st_mtime_ns)
    return found


def test_a_bank_holds_the_signals_of_every_model(tmp_path: Path, task: Task) -> None:
    store = Store(tmp_path)
    bank = train_fleet(small_recipe(), task, store, seed=0)
    assert bank.pool.shape == (N_MODELS, len(task.pool), 1)
    assert bank.test.shape == (N_MODELS, len(task.test), 1)
    for row in range(N_MODELS):
        trained = train_model(small_recipe(), task, store, 0, row)
        np.testing.assert_array_equal(signals_of(trained.model, task.pool).loss, bank.pool.loss[row])
        np.testing.assert_array_equal(signals_of(trained.model, task.test).margin, bank.test.margin[row])
        assert torch.equal(trained.members.x, task.members(row).x)
    assert len({bank.pool.loss[row].tobytes() for row in range(N_MODELS)}) == N_MODELS


def test_members_of_each_model_have_lower_loss(tmp_path: Path, task: Task) -> None:
    """The rows of the bank and of the membership matrix belong together."""
    bank = train_fleet(small_recipe(epochs=30, batch_size=8), task, Store(tmp_path), seed=0)
    for row in range(N_MODELS):
        inside = task.membership[row]
        assert bank.pool.loss[row, inside].mean() < bank.pool.loss[row, ~inside].mean()


def test_nothing_is_trained_twice(tmp_path: Path, task: Task, counted: list[int]) -> None:
    first = train_fleet(small_recipe(), task, Store(tmp_path), seed=0)
    assert len(counted) == len(set(counted)) == N_MODELS
    before = files(tmp_path)
    again = train_fleet(small_recipe(), task, Store(tmp_path), seed=0)
    assert len(counted) == N_MODELS
    assert files(tmp_path) == before
    assert bank_bits(first) == bank_bits(again)
    other = train_fleet(small_recipe(), task, Store(tmp_path / "other"), seed=0)
    assert bank_bits(first) == bank_bits(other)


def test_what_acts_after_training_shares_one_training(tmp_path: Path, task: Task, counted: list[int]) -> None:
    store = Store(tmp_path)
    defenses = (Defense(), EarlyStopping(0), EarlyStopping(1), WeightAveraging(0, 1), WeightAveraging(0, 2))
    banks = [train_fleet(small_recipe(defense=defense), task, store, seed=0) for defense in defenses]
    assert len(counted) == N_MODELS
    assert len(list(store.keys("training"))) == N_MODELS
    assert len(list(store.keys("release"))) == N_MODELS * len(defenses)
    assert len({b"".join(bank_bits(bank)) for bank in banks}) == len(defenses)
    train_fleet(small_recipe(defense=ShortSchedule(2)), task, store, seed=0)
    assert len(counted) == 2 * N_MODELS
    assert shares_training(Defense(), EarlyStopping(3))
    assert not shares_training(Defense(), RelaxLoss())


SWEPT = (Defense(), EarlyStopping(0), EarlyStopping(1), WeightAveraging(0, 1), WeightAveraging(0, 2))


def test_a_sweep_ends_with_the_bits_and_entries_of_as_many_fleets(tmp_path: Path, task: Task) -> None:
    apart, together = Store(tmp_path / "apart"), Store(tmp_path / "together")
    for how in (small_recipe(), jobs.recipe()):
        expected = [train_fleet(how.with_defense(one), task, apart, seed=0) for one in SWEPT]
        found = list(sweep_fleet(how, SWEPT, task, together, seed=0))
        assert [bank_bits(bank) for bank in found] == [bank_bits(bank) for bank in expected]
        assert [bank.facts[0]["defense"] for bank in found] == [bank.facts[0]["defense"] for bank in expected]
    for kind in ("training", "release"):
        assert list(apart.keys(kind)) == list(together.keys(kind))


def test_a_sweep_reads_every_training_once_and_makes_what_is_missing(
    tmp_path: Path, task: Task, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    real = Store.load

    def load(store: Store, kind: str, key: str) -> Entry:
        loaded.append(kind)
        return real(store, kind, key)

    train_fleet(small_recipe(defense=EarlyStopping(1)), task, Store(tmp_path), seed=0, rows=[2])
    before = files(tmp_path)
    monkeypatch.setattr(Store, "load", load)
    sweep_fleet(small_recipe(), SWEPT, task, Store(tmp_path), seed=0)
    assert loaded.count("training") == N_MODELS
    assert len(counted) == N_MODELS
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(list(Store(tmp_path).keys("release"))) == N_MODELS * len(SWEPT)
    loaded.clear()
    sweep_fleet(small_recipe(), SWEPT, task, Store(tmp_path), seed=0)
    assert "training" not in loaded


def test_a_sweep_of_different_trainings_is_refused(tmp_path: Path, task: Task) -> None:
    with pytest.raises(SettingError, match="relaxloss train otherwise than undefended"):
        sweep_fleet(small_recipe(), [Defense(), EarlyStopping(1), RelaxLoss()], task, Store(tmp_path), seed=0)
    with pytest.raises(SettingError, match="none were given"):
        sweep_fleet(small_recipe(), [], task, Store(tmp_path), seed=0)


def test_a_stored_training_comes_back_bit_for_bit(tmp_path: Path, task: Task) -> None:
    store, recipe = Store(tmp_path), jobs.recipe(keep=2)
    first, again = (train_model(recipe, task, store, 0, 1) for _ in range(2))
    fresh = train_model(recipe, task, Store(tmp_path / "fresh"), 0, 1)
    for other in (again, fresh):
        assert weight_bits(first.model) == weight_bits(other.model)
        assert not other.model.training
        assert other.trail.n_epochs == 3
        assert other.trail.epochs == first.trail.epochs
        for key, value in first.trail.tensors().items():
            assert torch.equal(value, other.trail.tensors()[key])


def test_rows_share_the_work(tmp_path: Path, task: Task, counted: list[int]) -> None:
    whole = train_fleet(small_recipe(), task, Store(tmp_path / "whole"), seed=0)
    counted.clear()
    store = Store(tmp_path / "shared")
    part = train_fleet(small_recipe(), task, store, seed=0, rows=[3, 1])
    assert len(counted) == 2
    np.testing.assert_array_equal(part.pool.loss, whole.pool.loss[[3, 1]])
    assert bank_bits(train_fleet(small_recipe(), task, store, seed=0)) == bank_bits(whole)
    assert len(counted) == N_MODELS


@pytest.mark.parametrize("rows", [[], [4], [-1], [0, 9]])
def test_rows_that_are_not_there_are_refused(tmp_path: Path, task: Task, rows: list[int]) -> None:
    with pytest.raises(SettingError, match="the task has models 0 to 3"):
        train_fleet(small_recipe(), task, Store(tmp_path), seed=0, rows=rows)


def test_progress_only_rises_and_ends_at_the_whole(tmp_path: Path, task: Task) -> None:
    told: list[tuple[str, float, float]] = []

    def note(what: str, done: float, total: float) -> None:
        told.append((what, done, total))

    train_fleet(small_recipe(), task, Store(tmp_path), 0, note)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("models", N_MODELS, N_MODELS)
    assert told[0] == ("epochs", pytest.approx(N_MODELS / 3), N_MODELS), "all train at a time"


def variants(task: Task) -> dict[str, tuple[Recipe, Task, int, int]]:
    recipe = small_recipe()
    relabelled = task.pool.relabelled((task.pool.y + 1) % 3)
    return {
        "as it is": (recipe, task, 0, 0),
        "seed": (recipe, task, 1, 0),
        "row": (recipe, task, 0, 1),
        "epochs": (small_recipe(epochs=4), task, 0, 0),
        "batch_size": (small_recipe(batch_size=8), task, 0, 0),
        "lr": (small_recipe(lr=0.2), task, 0, 0),
        "momentum": (small_recipe(momentum=0.8), task, 0, 0),
        "weight_decay": (small_recipe(weight_decay=0.0), task, 0, 0),
        "augment": (small_recipe(augment=True), task, 0, 0),
        "model": (small_recipe(model=MLP((9,))), task, 0, 0),
        "keep": (small_recipe(keep=2), task, 0, 0),
        "compile": (small_recipe(compile=True), task, 0, 0),
        "precision": (small_recipe(precision="bfloat16"), task, 0, 0),
        "start": (small_recipe(start=__file__), task, 0, 0),  # any file: the key holds its content
        "trainable": (small_recipe(trainable=("head",)), task, 0, 0),
        "lora": (small_recipe(trainable=("head",), lora=1), task, 0, 0),
        "nesterov": (small_recipe(nesterov=False), task, 0, 0),
        "warmup": (small_recipe(warmup=0), task, 0, 0),
        "milestones": (small_recipe(milestones=((0.5, 0.1),)), task, 0, 0),
        "stop": (small_recipe(stop=1), task, 0, 0),
        "defense": (small_recipe(defense=RelaxLoss(0.5)), task, 0, 0),
        "strength": (small_recipe(defense=RelaxLoss(0.25)), task, 0, 0),
        "labels": (recipe, dataclasses.replace(task, pool=relabelled), 0, 0),
        "split": (recipe, jobs.task(seed=1), 0, 0),
    }


def test_the_training_key_changes_with_each_ingredient(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {name: training_key(*arguments) for name, arguments in variants(task).items()}
    assert set(Recipe.__dataclass_fields__) <= keys.keys(), "each field of the recipe has a variant"
    twins = dataclasses.replace(task, membership=np.repeat(task.membership[:1], 2, axis=0))
    assert training_key(small_recipe(), twins, 0, 0) != training_key(small_recipe(), twins, 0, 1), "rows have own seeds"
    monkeypatch.setattr(keys_of, "TRAINING_VERSION", 99)
    keys["version"] = training_key(small_recipe(), task, 0, 0)
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys["torch"] = training_key(small_recipe(), task, 0, 0)
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    keys["threads"] = training_key(small_recipe(defense=RelaxLoss(0.5)), task, 0, 0)  # none that is stacked
    monkeypatch.undo()
    assert len(set(keys.values())) == len(keys)
    assert training_key(small_recipe(), task, 0, 0) == keys["as it is"]


def test_keys_on_the_cpu_are_what_they_were(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores from before there was a choice of devices stay good."""
    monkeypatch.setattr(torch, "__version__", "2.0")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(keys_of.platform, "machine", lambda: "any")
    plain, relaxed = small_recipe(), small_recipe(defense=RelaxLoss(0.5))
    assert (training_key(plain, task, 0, 1), release_key(plain, task, 0, 1)) == ("40477ef870d35fe1", "a0cb3d05c18aa723")
    assert training_key(relaxed, task, 0, 1) == "e1f9a8e6c5cfd8f4"
    assert release_key(relaxed, task, 0, 1) == "3746148602be6d6a"
    assert release_key(own_loop, task, 0, 1, function="f", label="l") == "e53dc8392c80486f"


def test_keys_know_a_gpu_and_not_which(task: Task) -> None:
    trains = (small_recipe(), small_recipe(defense=EarlyStopping(2)), own_loop)

    def keys() -> list[str]:
        of_recipes = [training_key(one, task, 0, 0) for one in trains if isinstance(one, Recipe)]
        return of_recipes + [release_key(one, task, 0, 0, function="f") for one in trains]

    here = keys()
    with working_on(torch.device("cuda")):
        there = keys()
    with working_on(torch.device("cuda", 1)):
        assert keys() == there
    assert set(here).isdisjoint(there)
    assert keys() == here


def test_on_a_gpu_nothing_is_stacked(task: Task) -> None:
    assert keys_of.stacks(small_recipe(), task)
    with working_on(torch.device("cuda")):
        assert not keys_of.stacks(small_recipe(), task)
        assert stack_size(small_recipe(), task, 4, 1) == 1


def test_the_training_key_leaves_out_what_does_not_shape_the_weights(task: Task) -> None:
    key = training_key(small_recipe(), task, 0, 0)
    assert training_key(small_recipe(defense=EarlyStopping(2)), task, 0, 0) == key
    other = dataclasses.replace(task, test=task.test[:20], holdout=task.holdout[:5])
    assert training_key(small_recipe(), other, 0, 0) == key
    assert release_key(small_recipe(), other, 0, 0) != release_key(small_recipe(), task, 0, 0)
    assert release_key(small_recipe(defense=EarlyStopping(2)), task, 0, 0) != release_key(small_recipe(), task, 0, 0)


def test_an_altered_training_is_refused_not_used(tmp_path: Path, task: Task) -> None:
    store = Store(tmp_path)
    train_model(small_recipe(), task, store, 0, 0)
    (key,) = store.keys("training")
    path = Path(store.path("training", key))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StoreError, match="truncated"):
        train_model(small_recipe(), task, store, 0, 0)


def test_models_finished_before_a_divergence_stay(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = trainings.fit, []

    def fit(*arguments: object, **rest: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise TrainingError("epoch 1")
        return real(*arguments, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainings, "fit", fit)
    with pytest.raises(TrainingError):
        train_fleet(small_recipe(defense=RelaxLoss()), task, Store(tmp_path), seed=0)
    train_fleet(small_recipe(defense=RelaxLoss()), task, Store(tmp_path), seed=0)
    assert len(calls) == N_MODELS + 1


# A user's own function.


def loop_of(log: Path, **settings: object) -> Callable[..., nn.Module]:
    return functools.partial(own_loop, log=log, **settings)


def begun(log: Path) -> int:
    return log.read_text().count("begin")


def test_a_function_is_called_once_a_model_and_its_models_are_measured(tmp_path: Path, task: Task) -> None:
    log, store = tmp_path / "log", Store(tmp_path / "store")
    first = train_fleet(loop_of(log), task, store, seed=0)
    assert begun(log) == N_MODELS
    assert bank_bits(train_fleet(loop_of(log), task, store, seed=0)) == bank_bits(first)
    assert begun(log) == N_MODELS
    again = train_fleet(loop_of(log), task, Store(tmp_path / "again"), seed=0)
    assert bank_bits(again) == bank_bits(first)
    model = own_loop(task.members(2), task.holdout, torch_generator(0, "model", 2), log)
    np.testing.assert_array_equal(signals_of(model, task.pool).loss, first.pool.loss[2])


def test_functions_with_other_settings_are_other_functions(tmp_path: Path, task: Task) -> None:
    log, store = tmp_path / "log", Store(tmp_path / "store")
    banks = [train_fleet(loop_of(log, epochs=epochs), task, store, seed=0) for epochs in (1, 2)]
    assert begun(log) == 2 * N_MODELS
    assert bank_bits(banks[0]) != bank_bits(banks[1])


class Trainer:
    """A callable object with a setting and a counter."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.calls = 0

    def __call__(self, members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        self.calls += 1
        return small_recipe(epochs=self.epochs)(members, holdout, generator)

    def method(self, members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        return self(members, holdout, generator)


def test_a_counter_in_a_callable_object_does_not_undo_what_is_stored(tmp_path: Path, task: Task) -> None:
    for make in (Trainer, lambda epochs: Trainer(epochs)):
        first, second, other = make(1), make(1), make(2)
        store = Store(tmp_path / str(make))
        train_fleet(first, task, store, seed=0)
        train_fleet(second, task, store, seed=0)
        train_fleet(other, task, store, seed=0)
        assert (first.calls, second.calls, other.calls) == (N_MODELS, 0, N_MODELS)


def test_a_function_without_source_is_refused(tmp_path: Path, task: Task) -> None:
    scope: dict[str, Callable[..., nn.Module]] = {}
    exec("def train(members, holdout, generator): return None", scope)
    for train in (scope["train"], functools.partial(scope["train"]), len):
        with pytest.raises(SettingError, match="no source that can be read"):
            train_fleet(train, task, Store(tmp_path), seed=0)


def test_a_function_that_returns_no_model_is_refused(tmp_path: Path, task: Task) -> None:
    def returns_weights(members: Examples, holdout: Examples, generator: torch.Generator) -> object:
        return {"weights": 1}

    def returns_other_classes(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    with pytest.raises(ModelError, match=r"train\(\) returned dict"):
        train_fleet(returns_weights, task, Store(tmp_path), seed=0)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"it must return logits of shape"):
        train_fleet(returns_other_classes, task, Store(tmp_path), seed=0)
    assert list(Store(tmp_path).keys("release")) == []


# Kills.


def kill_until_done(
    root: Path, job: Callable[..., None], arguments: tuple[object, ...], kills: int, longest: float
) -> int:
    """Start ``job`` and kill it at a random moment of its work, again and again; then let it end.

    Checks that what is finished stays as it is. Returns how many kills hit a process at work.
    """
    clock, hits = random.Random(0), 0
    finished: dict[str, tuple[int, int]] = {}
    for _ in range(kills):
        hits += processes.kill_at_random(processes.start(job, *arguments), clock, longest)
        now = files(root)
        assert finished.items() <= now.items(), "a finished entry was written again"
        assert Store(root).verify() == []
        finished = now
    processes.finish(processes.start(job, *arguments))
    assert finished.items() <= files(root).items()
    return hits


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A store that was filled in one go, and the seconds that took."""
    root = tmp_path_factory.mktemp("unkilled")
    processes.finish(processes.start(jobs.task))  # the server has imported everything then
    start = time.perf_counter()
    processes.finish(processes.start(jobs.run_fleet, root / "store"))
    return root / "store", time.perf_counter() - start


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_cost_no_finished_model_and_change_no_bit(
    tmp_path: Path, unkilled: tuple[Path, float], kills: int
) -> None:
    whole, seconds = unkilled
    hits = kill_until_done(tmp_path, jobs.run_fleet, (tmp_path,), kills, seconds * 0.4)
    assert hits >= 1
    for kind in ("training", "release"):
        assert list(Store(tmp_path).keys(kind)) == list(Store(whole).keys(kind))
        for key in Store(whole).keys(kind):
            a, b = (Path(Store(root).path(kind, key)) for root in (whole, tmp_path))
            assert a.read_bytes() == b.read_bytes()
            assert Store(tmp_path).facts(kind, key)["row"] == Store(whole).facts(kind, key)["row"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_kills_repeat_no_finished_call_of_a_function(tmp_path: Path, task: Task, unkilled: tuple[Path, float]) -> None:
    root, log = tmp_path / "store", tmp_path / "log"
    log.touch()
    arguments = (root, log, 40)
    hits = kill_until_done(root, jobs.run_own_loop, arguments, 4, unkilled[1] * 0.4)
    ends = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("end")]
    assert len(set(ends)) == N_MODELS
    assert len(ends) <= N_MODELS + hits, "at most the model that was just being written is repeated"
    whole = train_fleet(loop_of(tmp_path / "other log", epochs=40), task, Store(tmp_path / "whole"), seed=0)
    store = Store(root)
    losses = {store.load("release", key).tensors["pool/loss"].numpy().tobytes() for key in store.keys("release")}
    assert losses == {whole.pool.loss[row].tobytes() for row in range(N_MODELS)}
