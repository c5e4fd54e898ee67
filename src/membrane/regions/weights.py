"""Weights of a model made elsewhere, from a file that can hold nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from torch import nn

from membrane.core.store import read_tensors
from membrane.regions.edit import load_state

Network = TypeVar("Network", bound=nn.Module)


def load_weights(model: Network, path: str | os.PathLike[str]) -> Network:
    """Put the weights of a safetensors file into a freshly built network, in place, and return it evaluating.

    Checkpoints of ``torch.save`` are pickles, which can run code when opened, and are refused. Whoever trusts one
    converts it: ``safetensors.torch.save_file(torch.load(path, weights_only=True), "weights.safetensors")``.

    Args:
        model: The architecture that the weights belong to.
        path: Of the file.

    Raises:
        StoreError: If the file is missing, damaged, or not safetensors.
        ModelError: If names or shapes do not match the network.
    """
    load_state(model, read_tensors(Path(path)))
    return model.eval()  # type: ignore[no-any-return, unused-ignore]
