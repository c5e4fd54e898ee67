"""Engine "ray" on a real cluster: two nodes on this machine."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from membrane.training.engines import InProcess, RayCluster
from tests.training import jobs
from tests.training.jobs import N_MODELS, bank_bits, small_recipe

pytestmark = [pytest.mark.slow, pytest.mark.extras("ray")]
LONG = {"epochs": 120}  # long enough for a node to be killed in the middle


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors and two nodes with one each; this process is connected to it."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own imports
        import ray
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        ray.init(address=made.address, log_to_driver=False)
        made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


def fail(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
    raise KeyError("no such thing")


@dataclass(frozen=True)
class NoteDevice:
    """A job that writes down where its process works."""

    log: Path
    home: str | None = None

    def __call__(self, row: int, progress: Progress) -> None:
        self.log.write_text(str(working_device()))


def exit_now(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
    os._exit(3)


def test_a_fleet_survives_the_death_of_a_node_with_the_same_bits(tmp_path: Path, task: Task, cluster: Any) -> None:  # noqa: ANN401
    here = train_fleet(small_recipe(**LONG), task, Store(tmp_path / "here"), 0, engine=InProcess(threads=1))
    told: list[tuple[str, float, float]] = []

    def note(what: str, done: float, total: float) -> None:
        told.append((what, done, total))

    killed = threading.Event()

    def kill_a_node() -> None:
        while not told:  # both nodes are at work
            time.sleep(0.02)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    there = train_fleet(small_recipe(**LONG), task, Store(tmp_path / "there"), 0, note, engine=RayCluster(threads=1))
    killer.join()
    assert killed.is_set()
    assert bank_bits(here) == bank_bits(there)
    assert Store(tmp_path / "there").verify() == []
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("models", N_MODELS, N_MODELS)
    first = next(done for what, done, _ in told if what == "models")
    assert first < N_MODELS, "the node died before the fleet was finished"


def test_what_goes_wrong_on_the_cluster_is_raised_here(tmp_path: Path, task: Task, cluster: Any) -> None:  # noqa: ANN401
    engine = RayCluster(threads=1, workers=1)
    with pytest.raises(TrainingError, match=r"model 0: train\(\) raised KeyError: 'no such thing'"):
        train_fleet(fail, task, Store(tmp_path), 0, engine=engine)
    with pytest.raises(DivergedError, match="model 0: training diverged"):
        train_fleet(small_recipe(lr=1e6, epochs=9), task, Store(tmp_path), 0, engine=engine)
    with pytest.raises(TrainingError, match="model 1: its task died 3 times"):
        train_fleet(exit_now, task, Store(tmp_path), 0, rows=[1], engine=engine)


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, task: Task) -> None:
    with pytest.raises(SettingError, match="Ray does not reach a cluster at 'auto'"):
        train_fleet(fail, task, Store(tmp_path), 0, engine=RayCluster(threads=1, address="auto"))


def test_tasks_work_where_the_engine_says(tmp_path: Path, cluster: Any) -> None:  # noqa: ANN401
    with working_on(torch.device("cuda")):
        RayCluster(threads=1, workers=1).run(NoteDevice(tmp_path / "log"), [0], 1, lambda *_: None)
    assert (tmp_path / "log").read_text() == "cuda"
