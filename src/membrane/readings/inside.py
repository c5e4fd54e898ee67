"""The network that whoever holds the file of weights has, inside whatever answers for it."""

from __future__ import annotations

from torch import nn

from membrane.regions import unwrap


def inside(model: nn.Module) -> nn.Module:
    """The bare network of a model: without wrappers of training, and without a rewriting of its answers.

    A module that answers on behalf of another one says so by an attribute ``inside``.
    """
    bare = unwrap(model)
    while isinstance(inner := getattr(bare, "inside", None), nn.Module):
        bare = unwrap(inner)
    return bare
