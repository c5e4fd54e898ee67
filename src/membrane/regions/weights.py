"""Weights of a model made elsewhere, from a file that can hold nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from membrane.core.errors import ModelError, raise_all
from membrane.core.store import read_tensors
from membrane.regions.edit import load_state
from membrane.regions.partition import plain_state, unwrap

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
        ModelError: If names, shapes or kinds of numbers do not match the network, or weights are not finite.
    """
    state = read_tensors(Path(path))
    own = plain_state(model)
    mistakes = [
        f"{path}: {name} holds {value.dtype}, and the network {own[name].dtype}; these are other weights."
        for name, value in state.items()
        if name in own and _kind(value) != _kind(own[name])
    ]
    trainable = {name for name, _ in unwrap(model).named_parameters()}
    mistakes += [
        f"{path}: {name} holds NaN or infinity; the model has diverged, or the file is damaged."
        for name, value in state.items()
        if name in trainable and value.is_floating_point() and not torch.isfinite(value).all()
    ]
    raise_all(mistakes, ModelError)
    load_state(model, state)
    return model.eval()  # type: ignore[no-any-return, unused-ignore]


def _kind(value: torch.Tensor) -> tuple[bool, bool, bool]:
    """Real, complex or truth value; precision does not matter."""
    return value.is_floating_point(), value.is_complex(), value.dtype == torch.bool
