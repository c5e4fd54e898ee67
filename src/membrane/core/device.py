"""Where this process trains models, and asks them what it asks them many times: on the CPU, or on a GPU.

Engines set it for as long as they train; outside of them it is the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from membrane.core.errors import SettingError

CPU = torch.device("cpu")
_KNOWN = re.compile(r"auto|cpu|cuda(:\d+)?")
_WORKING: ContextVar[torch.device | None] = ContextVar("membrane_device", default=None)


def working_device() -> torch.device:
    """The device that was set by ``working_on``; the CPU if none was."""
    return _WORKING.get() or CPU


@contextmanager
def working_on(device: torch.device) -> Iterator[None]:
    """Work on a device inside, where this process worked before afterwards. Its type is part of training keys."""
    before = _WORKING.set(device)
    try:
        yield
    finally:
        _WORKING.reset(before)


def check_device(name: str) -> None:
    """Refuse what names no device, whether it is there or not.

    Raises:
        SettingError: Saying which names there are.
    """
    if not _KNOWN.fullmatch(name):
        raise SettingError(
            f'device is {name!r}; it must be "auto" (a GPU where torch sees one, else the CPU), "cpu", "cuda", or '
            '"cuda:1" for the second GPU.'
        )


def find_device(name: str) -> torch.device:
    """The device of a setting.

    Args:
        name: "cpu", "cuda", "cuda:1", or "auto": where this process works already; if nothing says where, a CUDA GPU
            if torch sees one, else the CPU.

    Raises:
        SettingError: If there is no such device, or it is not here.
    """
    check_device(name)
    if name == "auto":
        return _WORKING.get() or torch.device("cuda" if n_gpus() else "cpu")
    device = torch.device(name)
    refuse_absent(device)
    return device


def n_gpus() -> int:
    """CUDA GPUs that torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def refuse_absent(device: torch.device) -> None:
    """Refuse a GPU that this process does not see.

    Raises:
        SettingError: Saying what there is and what to do.
    """
    if device.type != "cuda" or (device.index or 0) < n_gpus():
        return
    if n_gpus():
        raise SettingError(f"device is {device}; torch sees {n_gpus()} GPUs here, counted from cuda:0.")
    made_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    raise SettingError(
        f"device is {device}, and torch {torch.__version__}, built for {made_for}, sees no GPU here. Set device = "
        '"cpu", or "auto" for a GPU only where there is one; or install a driver and a build of torch that fit the GPU.'
    )


def described(device: torch.device) -> str:
    """The device in words for a report: "cpu", or its name with what the driver calls the GPU, if it is here."""
    if device.type == "cuda" and (device.index or 0) < n_gpus():
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return str(device)
