"""Gradients of an example's loss: how strongly it still pulls at the network.

Source: Nasr, Shokri and Houmansadr 2019, "Comprehensive Privacy Analysis of Deep Learning", arXiv:1812.00910, where the
norm of the gradient is the white-box feature that tells members best. Where we differ: norms are kept for each region
of the network and for the input, so that one reading says where the pull is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from membrane.core.errors import ModelError
from membrane.core.values import Floats
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import as_inputs
from membrane.models.signals import device_of
from membrane.readings.inside import inside
from membrane.readings.reading import Reading, Reveals
from membrane.regions import partition

_NUMBERS = 1 << 24  # gradients that are held at a time, 64 MiB
_MOST = 128  # examples at a time
_LEAST = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True)
class Gradients(Reading):
    """Euclidean norms of the loss's gradient, K = 1 + regions: by the input, then by each region's weights.

    The norm by all weights is the root of the sum of their squares.
    """

    name: ClassVar[str] = "gradients"
    threat_model: ClassVar[Reveals] = "weights"
    version: ClassVar[int] = 2

    def columns(self, model: nn.Module, pool: Examples) -> tuple[str, ...]:
        names = partition(inside(model), as_inputs(pool.x[:2])).names
        return ("gradient input", *(f"gradient {name}" for name in names))

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        network = inside(model)
        weights = {name: value.detach() for name, value in network.named_parameters() if value.is_floating_point()}
        if not weights:
            raise ModelError("the model has no weights to take gradients of; leave out attacks on gradients.")
        regions = partition(network, as_inputs(examples.x[:2])).regions
        columns = [[key for key in region.keys if key in weights] for region in regions]
        buffers = {name: value.detach() for name, value in network.named_buffers()}

        def loss(weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            logits = functional_call(network, {**weights, **buffers}, (x[None],))
            return F.cross_entropy(logits.float(), y[None])

        gradients = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0, 0), randomness="error")
        step = min(_MOST, max(1, _NUMBERS // sum(value.numel() for value in weights.values())))
        found = []
        for x, y in _batches(network, examples, step):
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot be mapped over examples
                by_weight, by_input = gradients(weights, x, y)
            squares = {key: value.flatten(1).double().square().sum(1) for key, value in by_weight.items()}
            parts = [by_input.flatten(1).double().square().sum(1)]
            parts += [sum((squares[key] for key in keys), torch.zeros(len(x)).to(x).double()) for keys in columns]
            found.append(torch.stack(parts, 1).sqrt().cpu().numpy())
        return np.concatenate(found)


def log_norms(norms: Floats) -> npt.NDArray[np.float64]:
    """Logs of gradients' norms; of none, that of the smallest number that is stored."""
    logs: npt.NDArray[np.float64] = np.log(np.maximum(norms.astype(np.float64), _LEAST))
    return logs


def _batches(network: nn.Module, examples: Examples, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    device, start = device_of(network), 0
    for x in pieces(examples.x, step):
        yield as_inputs(x.to(device)), examples.y[start : start + len(x)].to(device)
        start += len(x)
