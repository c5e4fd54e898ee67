"""Models on the machines of a Ray cluster, or in processes of this machine that Ray starts.

Library: Ray (extra ``cluster``), https://docs.ray.io. A model is a Ray task, with the processors and GPUs that it
asks for; Ray places it and begins it again elsewhere where its process or its machine dies.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from membrane.core.device import CPU, working_device, working_on
from membrane.core.errors import MembraneError, SettingError, TrainingError
from membrane.training.engines.engine import MOST_DEATHS, Engine, Job, Told
from membrane.training.engines.sending import told_of
from membrane.training.origins import importable
from membrane.training.threads import processors

_LOOK = 1.0  # seconds between two looks at how far the models are


@dataclass(frozen=True)
class RayCluster(Engine):
    """Train as tasks on a Ray cluster.

    Every node needs membrane in the same versions, processors of one kind (others may compute other bits), and the
    store under the same path, or at a URL: finished models go there directly.

    Args:
        workers: Models at the same time, at most; if not given, as many as the cluster has room for.
        address: Of the cluster, such as "auto" for the one of this machine; if not given, the one that this process
            is connected to already, else one is started here and ended again.
        gpus: That each model asks for, parts of one included. With any, models train on "cuda" whatever this machine
            has, unless ``device`` is "cpu"; without, on the CPU, because Ray may hide the others' GPUs from a task.
    """

    name: ClassVar[str] = "ray"

    workers: int | None = None
    address: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive(workers=self.workers)
        if not self.gpus >= 0:
            raise SettingError(f"engine {self.name!r}: gpus is {self.gpus}; it must be 0 or more.")
        if self.device.startswith("cuda") and (self.device != "cuda" or not self.gpus):
            raise SettingError(
                f"engine {self.name!r}: device is {self.device!r} and gpus {self.gpus}; a model sees the GPUs that it "
                'asks for, as "cuda". Set device = "cuda" and gpus = 1, or part of one for several models on each.'
            )

    def works_on(self) -> torch.device:
        """A GPU if models ask for any; whether there is one shows on the cluster."""
        return torch.device("cuda") if self.gpus and self.device != "cpu" else CPU

    def at_once(self, n_rows: int, n_threads: int) -> int:
        """As many as run on this machine: how large a cluster is shows when it is reached."""
        return max(min(self.workers or n_rows, n_rows, processors() // n_threads), 1)

    def run(self, job: Job, rows: Sequence[int], n_threads: int, told: Told) -> None:
        """Every row a task.

        Raises:
            SettingError: If Ray is not installed, does not find the cluster, or cannot send the job.
            TrainingError: If machines or processes die again and again over one model.
            MembraneError: What training a model raises.
        """
        if not rows:
            return
        ray = _library()
        with _connected(ray, self.address):
            sent = _sent(ray, job)
            board = _board(ray)
            task = ray.remote(
                num_cpus=n_threads,
                num_gpus=self.gpus,
                max_retries=MOST_DEATHS - 1,
                max_calls=0,
                scheduling_strategy="SPREAD",
            )(_train)
            waiting = list(rows)
            at_work: dict[Any, int] = {}
            try:
                while waiting or at_work:
                    while waiting and len(at_work) < (self.workers or len(rows)):
                        row = waiting.pop(0)
                        at_work[task.remote([sent], job.home, row, n_threads, str(working_device()), board)] = row
                    done, _ = ray.wait(list(at_work), num_returns=1, timeout=_LOOK)
                    with suppress(ray.exceptions.RayError):  # only how far they are
                        for row, what, share in ray.get(board.news.remote()):
                            told(row, what, share)
                    for one in done:
                        row = at_work.pop(one)
                        _raise_from(ray, one, row)
                        told(row, "models", 1.0)
            finally:
                for one in at_work:
                    ray.cancel(one, force=True)


class _Board:
    """An actor that tasks tell how far they are."""

    def __init__(self) -> None:
        self._news: dict[int, tuple[str, float]] = {}

    def tell(self, row: int, what: str, share: float) -> None:
        """Keep the last word of each row."""
        self._news[row] = (what, share)

    def news(self) -> list[tuple[int, str, float]]:
        """What is new."""
        news, self._news = self._news, {}
        return [(row, what, share) for row, (what, share) in news.items()]


def _board(ray: Any) -> Any:  # noqa: ANN401 -- Ray ships no types
    """A board on the machine of this process, whose death ends the run anyway."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()


def _train(
    sent: list[Any],
    home: str | None,
    row: int,
    n_threads: int,
    device: str,
    board: Any,  # noqa: ANN401 -- a handle of Ray's
) -> Exception | None:
    """What runs on the cluster: one model; what went wrong with it is returned, as Ray would dress it up."""
    torch.set_num_threads(n_threads)
    with importable(home):  # the job comes in a list because Ray would unpack it before this
        job: Job = _library().get(sent[0])
    try:
        with working_on(torch.device(device)):
            job(row, lambda what, part, whole: board.tell.remote(row, what, part / whole))
    except MembraneError as problem:
        return problem
    except Exception as problem:  # of the user's function
        return told_of(row, problem)
    return None


def _raise_from(ray: Any, done: Any, row: int) -> None:  # noqa: ANN401 -- Ray ships no types
    try:
        problem = ray.get(done)
    except ray.exceptions.RayError as death:
        raise TrainingError(
            f"model {row}: its task died {MOST_DEATHS} times ({str(death).splitlines()[0]}). If nobody ended it, "
            "memory may have run out: set fewer workers or a smaller batch_size. Models finished before are kept."
        ) from death
    if problem is not None:
        raise problem


def _library() -> Any:  # noqa: ANN401 -- Ray ships no types
    try:
        return importlib.import_module("ray")
    except ImportError as problem:
        raise SettingError(
            "engine 'ray' needs Ray: pip install 'membrane[cluster]'. Or use engine 'processes', which needs nothing."
        ) from problem


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:  # noqa: ANN401 -- Ray ships no types
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as problem:
        raise SettingError(
            f"Ray does not reach a cluster at {address!r} ({problem}). Start one with `ray start --head`, or leave "
            "address out for one on this machine alone."
        ) from problem
    try:
        yield
    finally:
        ray.shutdown()


def _sent(ray: Any, job: Job) -> Any:  # noqa: ANN401 -- Ray ships no types
    try:
        return ray.put(job)
    except Exception as problem:  # objects refuse in many ways, with errors of every class
        raise SettingError(
            f"train() cannot be sent to other machines ({problem}). Let it open files, locks and connections itself, "
            "or use engine 'in_process'."
        ) from problem
