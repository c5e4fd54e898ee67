from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core import Store
from membrane.core.device import working_device, working_on
from membrane.core.errors import SettingError, TrainingError
from membrane.core.progress import Progress
from membrane.data import Examples, Task
from membrane.training import train_fleet
from membrane.training.divergence import DivergedError
from membrane.training.engines import ENGINES, Engine, InProcess, Processes, RayCluster, engine_of
from tests.training import jobs
from tests.training.jobs import N_MODELS, bank_bits, small_recipe


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


def note_process(members: Examples, holdout: Examples, generator: torch.Generator, log: Path) -> nn.Module:
    """A training function that writes down which process it runs in, and which GPU that one may see."""
    with log.open("a") as file:
        file.write(f"{os.getpid()} {torch.get_num_threads()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    return jobs.small_recipe(epochs=1)(members, holdout, generator)


def die_once(members: Examples, holdout: Examples, generator: torch.Generator, log: Path, most: int = 1) -> nn.Module:
    """A training function that is killed at its first calls."""
    with log.open("a") as file:
        file.write("called\n")
    if len(log.read_text().split()) <= most:
        os.kill(os.getpid(), signal.SIGKILL)
    return jobs.small_recipe(epochs=1)(members, holdout, generator)


def fail(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
    raise KeyError("no such thing")


def test_an_engine_is_made_from_a_name_a_table_or_itself() -> None:
    assert engine_of("in_process") == InProcess()
    assert engine_of({"name": "processes", "workers": 3, "threads": 2}) == Processes(2, 3)
    assert engine_of(Processes(threads=1), workers=4) == Processes(1, 4)
    assert engine_of(Processes(1, 2), device="cpu") == Processes(1, 2, device="cpu")
    assert engine_of("ray", workers=2) == RayCluster(workers=2)
    assert set(ENGINES) == {"in_process", "processes", "ray"}


@pytest.mark.parametrize(
    ("engine", "workers", "said"),
    [
        ("process", None, "Did you mean 'processes'"),
        ("in_process", 2, "has no setting 'workers'"),
        ("processes", 0, "workers is 0; it must be 1 or more"),
        ({"name": "processes", "gpus": -1}, None, "gpus is -1"),
        ({"name": "ray", "gpus": -0.5}, None, "gpus is -0.5"),
        ({"name": "in_process", "threads": 0}, None, "threads is 0"),
        ({"name": "in_process", "device": "gpu"}, None, "device is 'gpu'; it must be \"auto\""),
        ({"name": "processes", "gpus": 2, "device": "cuda:1"}, None, "a worker sees one GPU alone"),
        ({"name": "ray", "device": "cuda"}, None, "a model sees the GPUs that it asks for"),
        ({"name": "ray", "device": "cuda:1", "gpus": 1}, None, "a model sees the GPUs that it asks for"),
    ],
)
def test_engines_that_make_no_sense_are_refused(engine: Any, workers: int | None, said: str) -> None:  # noqa: ANN401
    with pytest.raises(SettingError, match=said):
        engine_of(engine, workers)


def test_processes_train_the_same_bits(tmp_path: Path, task: Task) -> None:
    here = train_fleet(small_recipe(), task, Store(tmp_path / "here"), 0, engine=InProcess(threads=1))
    told: list[tuple[str, float, float]] = []
    there = train_fleet(
        small_recipe(),
        task,
        Store(tmp_path / "there"),
        0,
        lambda *now: told.append(now),
        engine=Processes(threads=1, workers=2),
    )
    assert bank_bits(here) == bank_bits(there)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("models", N_MODELS, N_MODELS)
    assert {what for what, _, _ in told} == {"epochs", "models"}
    assert list(Store(tmp_path / "here").keys("release")) == list(Store(tmp_path / "there").keys("release"))


@dataclass(frozen=True)
class NoteDevice:
    """A job that writes down where its process works, and which GPUs it may see."""

    log: Path
    home: str | None = None

    def __call__(self, row: int, progress: Progress) -> None:
        with self.log.open("a") as file:
            file.write(f"{row} {working_device()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")


@pytest.mark.parametrize("engine", [InProcess(), Processes(threads=1, workers=1)], ids=lambda one: one.name)
def test_models_are_made_where_the_engine_works(tmp_path: Path, engine: Engine) -> None:
    with working_on(torch.device("cuda", 1)):
        engine.run(NoteDevice(tmp_path / "log"), [0], 1, lambda *_: None)
    assert (tmp_path / "log").read_text().split()[:2] == ["0", "cuda:1"]


def test_each_worker_gets_a_gpu_of_those_that_this_process_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6, 3")
    with working_on(torch.device("cuda")):
        engine = Processes(threads=1, workers=2, gpus=2)
        engine.run(NoteDevice(tmp_path / "log"), [0, 1], 1, lambda *_: None)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert {device for _, device, _ in lines} == {"cuda"}
    assert {gpu for _, _, gpu in lines} <= {"6", "3"}


def test_engines_say_where_they_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda, second = (torch.device(name) for name in ("cpu", "cuda", "cuda:1"))

    def works_on(engine: Engine) -> torch.device:
        return Context().run(engine.works_on)

    assert works_on(InProcess()) == works_on(Processes(gpus=2)) == works_on(RayCluster()) == cpu
    assert works_on(RayCluster(gpus=0.5)) == cuda, "whatever this machine has"
    assert works_on(RayCluster(gpus=0.5, device="cpu")) == cpu
    with pytest.raises(SettingError, match="sees no GPU here"):
        works_on(InProcess(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert works_on(InProcess()) == works_on(Processes()) == works_on(Processes(gpus=2)) == cuda
    assert works_on(Processes(device="cuda:1")) == second
    assert works_on(Processes(gpus=2, device="cpu")) == works_on(InProcess(device="cpu")) == cpu
    assert works_on(RayCluster()) == cpu, "a task that asks for no GPU may see none"
    with pytest.raises(SettingError, match="gpus is 4; torch sees 2 here"):
        works_on(Processes(gpus=4))


def test_few_workers_share_a_gpu_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("membrane.training.engines.processes.processors", lambda: 32)
    assert Processes().at_once(100, 1) == 32
    with working_on(torch.device("cuda")):
        assert [Processes().at_once(100, 1), Processes(gpus=2).at_once(100, 1)] == [4, 8]
        assert [Processes().at_once(100, 16), Processes().at_once(3, 1), Processes(workers=9).at_once(100, 1)] == [
            2,
            3,
            9,
        ]


def test_an_engine_is_entered_with_threads_and_device() -> None:
    before = torch.get_num_threads(), working_device()
    with InProcess(threads=before[0] + 1, device="cpu").entered():
        assert (torch.get_num_threads(), working_device()) == (before[0] + 1, torch.device("cpu"))
    assert (torch.get_num_threads(), working_device()) == before


def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path: Path, task: Task) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    for engine in (InProcess(device="cuda"), Processes(device="cuda:1", workers=1)):
        with pytest.raises(SettingError, match="sees no GPU here"):
            train_fleet(fail, task, Store(tmp_path / "store"), 0, engine=engine)
    with pytest.raises(SettingError, match="sees no GPU here"):
        jobs.fit(jobs.small_recipe(), task.members(0), None, 0, torch.device("cuda"))


@pytest.mark.slow
def test_workers_compute_with_the_threads_that_were_set_and_see_their_gpu(tmp_path: Path, task: Task) -> None:
    log = tmp_path / "log"
    before = torch.get_num_threads()
    train = functools.partial(note_process, log=log)
    train_fleet(train, task, Store(tmp_path / "store"), 0, engine=Processes(threads=1, workers=2, gpus=2))
    seen = [line.split() for line in log.read_text().splitlines()]
    assert len(seen) == N_MODELS
    assert {pid for pid, _, _ in seen}.isdisjoint({str(os.getpid())})
    assert {n for _, n, _ in seen} == {"1"}
    assert {gpu for _, _, gpu in seen} <= {"0", "1"}
    assert len({(pid, gpu) for pid, _, gpu in seen}) == len({pid for pid, _, _ in seen}) == 2
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_killed_worker_costs_the_model_it_was_at(tmp_path: Path, task: Task) -> None:
    log = tmp_path / "log"
    train = functools.partial(die_once, log=log)
    bank = train_fleet(train, task, Store(tmp_path / "store"), 0, engine=Processes(threads=1, workers=1))
    assert len(log.read_text().split()) == N_MODELS + 1
    assert bank.pool.shape[0] == N_MODELS


@pytest.mark.slow
def test_a_model_that_kills_its_workers_again_and_again_is_named(tmp_path: Path, task: Task) -> None:
    train = functools.partial(die_once, log=tmp_path / "log", most=99)
    with pytest.raises(
        TrainingError, match=r"model 2: 3 worker processes died over it, the last by signal 9 \(SIGKILL"
    ):
        train_fleet(train, task, Store(tmp_path / "store"), 0, rows=[2], engine=Processes(threads=1, workers=1))
    assert (tmp_path / "log").read_text().split() == ["called"] * 3


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_is_raised_here(tmp_path: Path, task: Task) -> None:
    engine = Processes(threads=1, workers=1)
    with pytest.raises(TrainingError, match=r"model 0: train\(\) raised KeyError: 'no such thing'") as told:
        train_fleet(fail, task, Store(tmp_path), 0, engine=engine)
    assert "in fail" in told.value.__notes__[0]
    wild = small_recipe(lr=1e6, epochs=9)
    with pytest.raises(DivergedError, match="model 0: training diverged") as there:
        train_fleet(wild, task, Store(tmp_path), 0, engine=engine)
    with pytest.raises(DivergedError) as here:
        train_fleet(wild, task, Store(tmp_path), 0, engine=InProcess(threads=1))
    assert str(there.value) == str(here.value)
    assert there.value.epoch == here.value.epoch
    assert (there.value.last_good is None) == (here.value.last_good is None)
    for name, value in (here.value.last_good or {}).items():
        assert there.value.last_good is not None
        np.testing.assert_array_equal(value.numpy(), there.value.last_good[name].numpy())


def test_what_cannot_be_sent_is_refused_before_training(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()

    def local(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        raise AssertionError(lock)

    for train in (local, lambda *_: local, functools.partial(fail, lock=lock)):
        with pytest.raises(SettingError, match="cannot be sent to another process"):
            train_fleet(train, task, Store(tmp_path), 0, engine="processes")
    monkeypatch.setattr(fail, "__module__", "__main__")
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    with pytest.raises(SettingError, match="notebook or at a prompt"):
        train_fleet(fail, task, Store(tmp_path), 0, engine="processes")
    assert not (tmp_path / "release").exists()


@pytest.mark.slow
def test_workers_end_when_an_interrupt_does(tmp_path: Path, task: Task) -> None:
    log = tmp_path / "log"

    def stop(what: str, done: float, total: float) -> None:
        raise KeyboardInterrupt

    train = functools.partial(note_process, log=log)
    with pytest.raises(KeyboardInterrupt):
        train_fleet(train, task, Store(tmp_path / "store"), 0, stop, engine=Processes(threads=1, workers=2))
    for line in log.read_text().splitlines():
        assert not alive(int(line.split()[0]))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
