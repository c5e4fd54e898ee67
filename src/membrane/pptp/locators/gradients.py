"""Gradients of a network's answers by region, at any weights: of batches, and of single examples.

Running statistics of BatchNorm are part of a network's history as weights are: they differ between epochs and change
what it answers. Here they are coordinates like any other, with a gradient of their own, which PyTorch's own layers do
not give.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from membrane.data.examples import Examples
from membrane.data.loader import as_inputs
from membrane.models import to_work
from membrane.models.signals import device_of
from membrane.pptp.locators.judge import Array
from membrane.regions import Partition
from membrane.regions.edit import State

# From logits (B, C) and labels (B,) to one number for each example (B,).
Quantity = Callable[[Tensor, Tensor], Tensor]
_TOGETHER = 50  # examples whose own gradients are held at a time


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy (B,), nats."""
    return cross_entropy(logits, y, reduction="none")


def probabilities(logits: Tensor, y: Tensor) -> Tensor:
    """Probability of the label (B,), 0 to 1."""
    return torch.softmax(logits, 1).gather(1, y[:, None])[:, 0]


class Gradients:
    """Of one architecture; the weights are given with every question.

    Args:
        model: Evaluated as it stands, dropout off; copied, never changed.
        partition: Its regions.
    """

    def __init__(self, model: nn.Module, partition: Partition) -> None:
        self._model = _with_plain_statistics(to_work(copy.deepcopy(model)).eval())
        self._device = device_of(self._model)
        self.partition = partition
        self._constant = {k: v.detach() for k, v in self._model.state_dict().items() if not v.is_floating_point()}

    def of_batches(
        self, state: State, examples: Examples, batch_size: int, quantity: Quantity
    ) -> Iterator[dict[str, Tensor]]:
        """The gradient of each batch's mean, for every floating-point weight and buffer; a rest is left out.

        Args:
            state: Weights and buffers.
            examples: In order.
            batch_size: Of each batch.
            quantity: What to derive.
        """
        leaves = {key: state[key].detach().to(self._device, copy=True).requires_grad_() for key in self._moving(state)}
        for start in range(0, len(examples) - batch_size + 1, batch_size):
            part = examples[start : start + batch_size]
            with sdpa_kernel(SDPBackend.MATH):
                mean = quantity(self._answer(leaves, self._inputs(part)), part.y.to(self._device)).mean()
                found = torch.autograd.grad(mean, list(leaves.values()), allow_unused=True)
            yield {
                key: torch.zeros(leaf.shape, dtype=leaf.dtype) if one is None else one.cpu()
                for (key, leaf), one in zip(leaves.items(), found, strict=True)
            }

    def of_examples(
        self, state: State, examples: Examples, quantity: Quantity, read: Callable[[dict[str, Tensor]], Tensor]
    ) -> Array:
        """(N, R), what ``read`` makes of each region's part of each example's own gradient; parameters only.

        Args:
            state: Weights and buffers.
            examples: N of them.
            quantity: What to derive.
            read: From one region's gradients, by name (B, ...), to (B,).
        """
        names = {name for name, _ in self._model.named_parameters()}
        moving = {key: state[key].to(self._device) for key in self._moving(state)}
        leaves = {key: value for key, value in moving.items() if key in names}
        rest = {key: value for key, value in moving.items() if key not in names}

        def of_one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return quantity(self._answer({**weights, **rest}, x[None]), y[None])[0]

        each = vmap(grad(of_one), in_dims=(None, 0, 0))
        parts = []
        for start in range(0, len(examples), _TOGETHER):
            part = examples[start : start + _TOGETHER]
            with sdpa_kernel(SDPBackend.MATH):
                found = each(leaves, self._inputs(part), part.y.to(self._device))
            parts.append(torch.stack([read(one) for one in self._by_region(found)], dim=1))
        return torch.cat(parts).detach().double().cpu().numpy()

    def dots(self, gradient: dict[str, Tensor], direction: State) -> Array:
        """(R,), each region's part of the scalar product of a gradient with a displacement of weights and buffers."""
        products = {key: (gradient[key].double() * moved.double()).sum() for key, moved in direction.items()}
        return np.array([sum(float(products[k]) for k in r.keys if k in products) for r in self.partition.regions])

    def _by_region(self, found: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        for region in self.partition.regions:
            yield {key: found[key] for key in region.keys if key in found}

    def _inputs(self, examples: Examples) -> Tensor:
        return as_inputs(examples.x[:].to(self._device))

    def _moving(self, state: State) -> list[str]:
        return [key for key, value in state.items() if value.is_floating_point()]

    def _answer(self, leaves: State, x: Tensor) -> Tensor:
        return functional_call(self._model, {**self._constant, **leaves}, (x,))  # type: ignore[no-any-return]


def squared_norm(found: dict[str, Tensor]) -> Tensor:
    """(B,) squared Euclidean norm of gradients (B, ...) by name."""
    return torch.stack([one.flatten(1).square().sum(1) for one in found.values()]).sum(0)


def steps(states: list[dict[str, Tensor]]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Each of a history's stretches: where it begins, and the displacement of what moves to where it ends."""
    for before, after in pairwise(states):  # a constant mask of minus infinity has no displacement, not even 0
        moving = [k for k, v in before.items() if v.is_floating_point() and not torch.equal(v, after[k])]
        yield before, {k: after[k] - before[k] for k in moving}


def _with_plain_statistics(model: nn.Module) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm) and child.track_running_stats:
            setattr(model, name, _PlainBatchNorm(child))
        else:
            _with_plain_statistics(child)
    return model


class _PlainBatchNorm(nn.Module):
    """BatchNorm in evaluation mode written out, so that its statistics have gradients; same names of weights."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__()
        self.eps = layer.eps
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale = torch.rsqrt(self.running_var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -self.running_mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        return x * scale.view(shape) + shift.view(shape)
