"""What passes between processes: whether a job can, found before any model is trained, and errors."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler

from membrane.core.errors import OutOfMemoryError, SettingError, TrainingError


def refuse_unsendable(train: object, engine: str) -> None:
    """Refuse a training function that no other process could be handed.

    Raises:
        SettingError: Saying what is in the way and what to do.
    """
    function = train
    while isinstance(function, functools.partial):
        function = function.func
    here = sys.modules.get("__main__")
    if getattr(function, "__module__", "") == "__main__" and not getattr(here, "__file__", None):
        raise SettingError(
            f"train() was defined in a notebook or at a prompt, where other processes cannot find it, so engine "
            f"{engine!r} cannot send it. Put it into a file and import it, or use engine 'in_process'."
        )
    try:
        ForkingPickler.dumps(train)
    except Exception as problem:  # objects refuse in many ways, with errors of every class
        raise SettingError(
            f"train() cannot be sent to another process, as engine {engine!r} must ({problem}). Define it at the top "
            "of a file, not inside a function and not as a lambda, and let it open files, locks and connections "
            "itself; or use engine 'in_process'."
        ) from problem


@contextmanager
def shared_memory() -> Iterator[None]:
    """Say what to do where the memory in which processes hand each other tensors has no room.

    Raises:
        OutOfMemoryError: In place of what torch raises.
    """
    try:
        yield
    except RuntimeError as problem:
        if "shm" not in str(problem) and "shared memory" not in str(problem):
            raise
        raise OutOfMemoryError(
            f"the shared memory of this machine has no room for the data ({problem}). Make /dev/shm larger (docker "
            "run --shm-size), put the data on disk, or use engine 'in_process'."
        ) from problem


def told_of(row: int, problem: Exception) -> TrainingError:
    """What a user's function raised, in a form that every process can read; where it did is in the notes."""
    told = TrainingError(f"model {row}: train() raised {type(problem).__name__}: {problem}")
    told.add_note("".join(traceback.format_exception(problem)))
    return told
