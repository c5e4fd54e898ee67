"""Processes to kill: each starts in a moment, from a server that has imported what they need."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
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
