"""Processes to kill: each starts in a moment, from a server that has imported what they need."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

_SERVER = multiprocessing.get_context("forkserver")
# The optimizers import torch._dynamo at their first step, which takes longer than all that the jobs do. The
# jobs themselves are found where the package is installed; elsewhere each process imports them anew.
_HEAVY = ["torch", "torch._dynamo", "safetensors.torch", "scipy.stats"]
_SERVER.set_forkserver_preload([*_HEAVY, "tests.core.jobs", "tests.training.jobs", "tests.verbs.jobs"])


def start(job: Callable[..., None], *arguments: object) -> BaseProcess:
    """Process that runs ``job``, a function of an importable module."""
    process = _SERVER.Process(target=job, args=arguments)
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    """Wait for a process that has to end well."""
    process.join(timeout=120)
    assert process.exitcode == 0, f"the process ended with {process.exitcode}"


def kill_at_random(process: BaseProcess, clock: random.Random, longest: float) -> bool:
    """SIGKILL after at most ``longest`` seconds; whether it was still at work."""
    time.sleep(clock.uniform(0, longest))
    process.kill()
    process.join()
    return process.exitcode != 0
