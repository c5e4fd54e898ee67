"""Models where this process works: trained models rest on the CPU, and are asked on the GPU if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from membrane.core.device import CPU, working_device
from membrane.models.signals import device_of

Network = TypeVar("Network", bound=nn.Module)


def to_work(model: Network) -> Network:
    """The model, in place, on the device that this process works on; one that left the CPU already stays where it is.

    Raises:
        torch.OutOfMemoryError: If the device has no room for its weights.
    """
    device = working_device()
    if device.type == "cpu" or device_of(model).type != "cpu":
        return model
    return model.to(device)


@contextmanager
def at_work(model: Network) -> Iterator[Network]:
    """The same inside; afterwards the model is back on the CPU if it came from there.

    Raises:
        torch.OutOfMemoryError: If the device has no room for its weights.
    """
    rests = device_of(model).type == "cpu"
    try:
        yield to_work(model)
    finally:
        if rests and working_device().type != "cpu":
            model.to(CPU)
