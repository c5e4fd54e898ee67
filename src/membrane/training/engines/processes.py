"""Several models at the same time, in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import ClassVar

import torch

from membrane.core.device import n_gpus, working_device, working_on
from membrane.core.errors import MembraneError, SettingError, TrainingError
from membrane.training.engines.engine import MOST_DEATHS, Engine, Job, Told
from membrane.training.engines.sending import refuse_unsendable, shared_memory, told_of
from membrane.training.origins import importable
from membrane.training.threads import processors

_SHARING = 4  # workers on one GPU if nobody says how many: each holds hundreds of megabytes of it, whatever its model
_BEGUN, _DONE = "", "done"  # what a worker says besides its progress


@dataclass(frozen=True)
class Processes(Engine):
    """Train in worker processes of this machine, each one model after the other.

    Workers put finished models into the store themselves; this process waits, reports and reads back. A worker that
    is killed costs the model that it was at, which another one begins again. Workers end with this process, however
    that ends. A script that trains so has to stand under ``if __name__ == "__main__":``, because workers import it.

    Args:
        workers: How many; if not given, so many that all processors are used with ``threads`` each, but four at most
            for each GPU where models train on such.
        gpus: GPUs to deal out to the workers, one each, by CUDA_VISIBLE_DEVICES: what a worker trains on is then its
            "cuda". 0 for leaving all to all, whose models then share the one of ``device``.
    """

    name: ClassVar[str] = "processes"

    workers: int | None = None
    gpus: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive(workers=self.workers, gpus=self.gpus or None)
        if self.gpus and self.device.startswith("cuda:"):
            raise SettingError(
                f"engine {self.name!r}: gpus is {self.gpus} and device {self.device!r}; a worker sees one GPU alone. "
                'Set device = "cuda", or leave out gpus for all workers on that one.'
            )

    def works_on(self) -> torch.device:
        """As any engine's, with GPUs enough to deal out."""
        device = super().works_on()
        if device.type == "cuda" and self.gpus > n_gpus():
            raise SettingError(
                f"engine {self.name!r}: gpus is {self.gpus}; torch sees {n_gpus()} here. Set gpus to that, or fewer."
            )
        return torch.device(device.type) if self.gpus else device

    @property
    def n_devices(self) -> int:
        """As many as are dealt out."""
        return max(self.gpus, 1)

    def at_once(self, n_rows: int, n_threads: int) -> int:
        """As many as there are workers, and no more than there are models."""
        room = processors() // n_threads
        if working_device().type == "cuda":
            room = min(room, _SHARING * self.n_devices)
        return max(min(self.workers or room, n_rows), 1)

    def refuse(self, train: object) -> None:
        """Refuse what cannot be sent to another process."""
        refuse_unsendable(train, self.name)

    def run(self, job: Job, rows: Sequence[int], n_threads: int, told: Told) -> None:
        """Rows in order, each given to the next worker that is free.

        Raises:
            TrainingError: If workers die again and again over one model, or cannot even start.
            MembraneError: What training a model raises.
        """
        if not rows:
            return
        crew = [_Worker(job, n_threads, number, self.gpus) for number in range(self.at_once(len(rows), n_threads))]
        waiting, deaths = deque(rows), Counter[int]()
        with _leaving(crew):
            while waiting or any(one.row is not None for one in crew):
                for one in crew:
                    if one.row is None and waiting:
                        one.begin(waiting.popleft())
                for one in _heard(crew):
                    if not one.listen(told):
                        waiting.appendleft(one.replace(deaths))


@dataclass(eq=False)
class _Worker:
    """A process that trains, as its parent sees it.

    Args:
        job: What it does for a row.
        n_threads: That it computes with.
        number: Which of the workers it is.
        gpus: To deal out.
    """

    job: Job
    n_threads: int
    number: int
    gpus: int
    row: int | None = None
    _process: SpawnProcess = field(init=False)
    _line: Connection = field(init=False)
    _ready: bool = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context: SpawnContext = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of torch
        self._line, theirs = context.Pipe()
        gpu = _visible(self.gpus)[self.number % self.gpus] if self.gpus else None
        self._process = context.Process(
            target=_serve,
            args=(self.job, self.n_threads, str(working_device()), theirs, gpu),
            daemon=False,
            name=f"membrane-{self.number}",
        )
        with shared_memory(), importable(self.job.home):  # a worker begins with the import path of now
            self._process.start()
        theirs.close()  # or the end of the process would not be heard
        self._ready = False

    @property
    def line(self) -> Connection:
        """Where it is heard; readable when it said something, and when it died."""
        return self._line

    def begin(self, row: int) -> None:
        """Give it a model; a worker that is dead already is found out when it is listened to."""
        self.row = row
        with suppress(BrokenPipeError):
            self._line.send(row)

    def listen(self, told: Told) -> bool:
        """Take what it says; whether it is alive.

        Raises:
            MembraneError: What happened to it in training.
        """
        try:
            said = self._line.recv()
        except (EOFError, ConnectionResetError):
            return False
        assert self.row is not None  # idle workers say nothing
        if isinstance(said, BaseException):
            raise said
        self._ready = True
        what, share = said
        if what == _DONE:
            told(self.row, "models", 1.0)
            self.row = None
        elif what != _BEGUN:
            told(self.row, what, share)
        return True

    def replace(self, deaths: Counter[int]) -> int:
        """Start another process in the place of one that died; the row that it was at.

        Raises:
            TrainingError: If that row has cost too many, or the process never came to work.
        """
        self._process.join()
        row, code = self.row, self._process.exitcode or 0
        assert row is not None
        deaths[row] += 1
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit status {code}"
        if not self._ready and code >= 0:
            raise TrainingError(
                f"a worker process ended {how} before it could begin; what it said is on standard error. Workers "
                'import the script that started them: put what it does under `if __name__ == "__main__":`, and the '
                "training function where they can import it. Or use engine 'in_process'."
            )
        if deaths[row] >= MOST_DEATHS:
            raise TrainingError(
                f"model {row}: {deaths[row]} worker processes died over it, the last {how}. If nobody killed them, "
                "memory may have run out (then the system kills with SIGKILL): set fewer workers or a smaller "
                "batch_size. Models finished before are kept."
            )
        self._line.close()
        self._start()
        self.row = None
        return row

    def stop(self) -> None:
        """End it, at work or not: whatever it writes is written whole or not at all."""
        self._process.kill()
        self._process.join()
        self._line.close()


@contextmanager
def _leaving(crew: Sequence[_Worker]) -> Iterator[None]:
    try:
        yield
    finally:
        for one in crew:
            one.stop()


def _heard(crew: Sequence[_Worker]) -> list[_Worker]:
    """Workers at work that said something, or died."""
    ready = wait([one.line for one in crew if one.row is not None])
    return [one for one in crew if one.line in ready]


def _visible(n: int) -> list[str]:
    """Names of the first GPUs that this process sees, as CUDA_VISIBLE_DEVICES has them."""
    seen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return seen[:n] if len(seen) >= n and all(seen) else [str(number) for number in range(n)]


def _serve(job: Job, n_threads: int, device: str, line: Connection, gpu: str | None) -> None:
    """What a worker does: the rows that it is told, until the other side ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that Ctrl-C is meant for ends its workers itself
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    with suppress(EOFError, BrokenPipeError), working_on(torch.device(device)):
        while True:
            row = line.recv()
            line.send((_BEGUN, 0.0))
            try:
                job(row, lambda what, part, whole: line.send((what, part / whole)))
            except MembraneError as problem:
                line.send(problem)
            except Exception as problem:  # of the user's function
                line.send(told_of(row, problem))
            else:
                line.send((_DONE, 1.0))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)  # in the middle of whatever it is: nothing can be told to anybody any more
