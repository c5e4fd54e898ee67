"""Processes to kill: each starts in a moment, from a server that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
# The optimizers import torch._dynamo at their first step, which takes longer than all that the jobs do.
_SERVER.set_forkserver_preload(["torch", "torch._dynamo", "scipy.stats", "sklearn.datasets", "membrane.cli"])


def start(job: Callable[..., None], *arguments: object, daemon: bool = True) -> BaseProcess:
    """Process that runs ``job``, a function of an importable module or of the script.

    It ends with this one; if it is no ``daemon`` it does not, but may have processes of its own.
    """
    process = _SERVER.Process(target=job, args=arguments, daemon=daemon)
    process.start()
    return process


def kill(process: BaseProcess) -> bool:
    """SIGKILL; whether the process was still at work.

    Raises:
        RuntimeError: If it had failed by itself.
    """
    process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a process failed by itself, with status {process.exitcode}")
    return process.exitcode != 0


def drafts(folder: Path) -> set[Path]:
    """Files in a folder that a writer has begun and not put in place."""
    return set(folder.rglob(".*.tmp"))


def await_draft(folder: Path, process: BaseProcess, *, own: bool = True) -> None:
    """Wait until the process begins a file in the folder, or ends; not its ``own`` alone, any process."""
    old, mark = drafts(folder), f".{process.pid}." if own else "."
    while process.is_alive() and not any(mark in path.name for path in drafts(folder) - old):
        time.sleep(0.0005)


def kill_worker(process: BaseProcess, dice: random.Random, most: float) -> bool:
    """SIGKILL for one of the processes that train for this one; whether there was one at work.

    Args:
        process: That has workers of its own, or a Ray cluster.
        dice: Which of them, and when.
        most: Seconds that a worker is let live from when there is one.
    """
    while process.is_alive() and not workers(process):
        time.sleep(0.005)
    time.sleep(dice.uniform(0, most))
    for worker in dice.sample(found := workers(process), len(found)):
        with suppress(ProcessLookupError):  # ended by itself meanwhile
            os.kill(worker, signal.SIGKILL)
            return True
    return False


def workers(process: BaseProcess) -> list[int]:
    """Processes under this one that multiprocessing spawned, or that run a task of Ray's."""
    found = []
    for pid in _descendants(process.pid or 0):
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in command or command.startswith(b"ray::_train"):
                found.append(pid)
    return sorted(found)


def _descendants(pid: int) -> Iterator[int]:
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                yield child
                yield from _descendants(child)
