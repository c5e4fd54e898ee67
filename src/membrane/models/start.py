"""Begin from weights that were trained before: fine-tuning."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, StoreError
from membrane.core.store import read_tensors

_LOG = logging.getLogger(__name__)
_WRAPPERS = ("module.", "_orig_mod.")  # DDP's and torch.compile's
_INSIDE = "net."  # where the zoo keeps a library's network
_OURS = ("normalize.mean", "normalize.std")  # other checkpoints have none


def start_from(net: nn.Module, path: str | os.PathLike[str], n_classes: int) -> str:
    """Fill a freshly built network with the weights of a safetensors file, in place; return what was done, in words.

    The names must be those of the network, or of the library's network that the zoo wraps. A last layer for another
    number of classes is left as it was drawn. Input statistics stay those of the members where the file has none.

    Args:
        net: What ``Model.build`` gave.
        path: Of the file.
        n_classes: Classes of the data.

    Raises:
        StoreError: If the file is missing, damaged, or not safetensors.
        ModelError: If its names or shapes are not those of the network.
    """
    name = Path(path).name
    own = net.state_dict()
    given = _named(read_tensors(Path(path)), own)
    wanted = [key for key in own if key in given or key not in _OURS]
    missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(own))
    other = [key for key in wanted if key in given and own[key].shape != given[key].shape]
    before = {_classes(given[key], own[key], n_classes) for key in other}
    if missing or extra or len(before) > 1 or None in before:
        raise ModelError(_mismatch(name, {"missing": missing, "unknown": extra}, other, own, given))
    if odd := [key for key in wanted if key in given and given[key].is_complex() and not own[key].is_complex()]:
        raise ModelError(f"{name} holds complex numbers in {odd[0]!r}, where the network has real ones.")
    with torch.no_grad():
        for key, value in own.items():
            if key in given and key not in other:
                value.copy_(given[key])
    done = f"{name}: {len(given) - len(other)} of {len(own)} tensors taken."
    if other:
        done += f" The head is new: the file has {before.pop()} classes, the data {n_classes} ({', '.join(other)})."
    _LOG.info(done)
    return done


def file_checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file.

    Raises:
        StoreError: If it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror}.") from problem


def _classes(given: Tensor, own: Tensor, n_classes: int) -> int | None:
    """Classes that a layer of the file was made for, if it is a head; None if it differs in more than that."""
    is_head = given.ndim > 0 and own.shape[:1] == (n_classes,) and given.shape[1:] == own.shape[1:]
    return len(given) if is_head else None


def _named(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the network's names, as far as a prefix makes the difference."""
    for wrapper in _WRAPPERS:
        if given and all(key.startswith(wrapper) for key in given):
            given = {key.removeprefix(wrapper): value for key, value in given.items()}
    if not any(key in own for key in given) and any(f"{_INSIDE}{key}" in own for key in given):
        given = {f"{_INSIDE}{key}": value for key, value in given.items()}
    return dict(given)


def _mismatch(
    name: str, lists: Mapping[str, list[str]], other: list[str], own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> str:
    parts = [f"{len(keys)} {what}, first {keys[:3]}" for what, keys in lists.items() if keys]
    if other:
        shapes = f"{tuple(given[other[0]].shape)} where the network has {tuple(own[other[0]].shape)}"
        parts.append(f"{len(other)} of another shape, first {other[0]!r} {shapes}")
    return (
        f"the weights in {name} belong to another network: {'; '.join(parts)}. Only the last layer may differ, by its "
        "number of classes. Choose the model, and settings of it, that they were trained with."
    )
