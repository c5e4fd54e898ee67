"""Named random generators: one seed for a run, one independent stream for every purpose in it.

Asking for ``"split"`` always gives the same stream, whatever was drawn elsewhere before, so adding a
draw in one place does not change any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Seed of the stream ``names`` under ``seed``: 63 bits, the same on every machine and Python.

    >>> derive_seed(0, "model", 3) == derive_seed(0, "model", 3) != derive_seed(0, "model", 4)
    True
    """
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """CPU ``torch.Generator`` of the stream ``names`` under ``seed``."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator of the stream ``names`` under ``seed``."""
    return np.random.default_rng(derive_seed(seed, *names))


def spawn_seed(generator: torch.Generator) -> int:
    """Draw a seed from ``generator``, for handing a stream on to something that names its own streams."""
    return int(torch.randint(2**62, (1,), generator=generator).item())


@contextmanager
def layer_stream(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, PyTorch's global stream starts at ``seed``; afterwards the caller's is back where it was.

    Dropout, stochastic depth and the first weights of other libraries' layers come from that stream and take no
    generator.

    Args:
        seed: Where the stream starts.
        device: A CUDA device whose stream is set, too.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reaches streams that are not forked
        for one in devices:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield
