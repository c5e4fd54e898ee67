"""R networks of one kind as a single network, each with weights and statistics of its own.

Images flow as (B, R * channels, H, W) through convolutions and normalizations in groups, features as (R, B, D) through
batched matrix products. Everything between layers that works on each channel or feature alone (activations, sums,
pooling) needs no change, so containers keep their own forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from membrane.models.model import Normalization
from membrane.models.resnet import BasicBlock
from membrane.regions.edit import State

CONTAINERS = (nn.Sequential, BasicBlock)
UNCHANGED = (nn.ReLU, nn.Tanh, nn.Identity, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.AvgPool2d)


class StackedLinear(nn.Module):
    """R linear layers: (R, B, D) to (R, B, n_out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.transpose(1, 2))


class StackedNormalization(nn.Module):
    """R normalizations of images (B, R * channels, H, W) or features (R, B, D)."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[Normalization]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.stack([layer.mean for layer in layers]))
        self.register_buffer("std", torch.stack([layer.std for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        shape = (1, -1, 1, 1) if x.ndim == 4 else (len(self.mean), 1, -1)
        return (x - self.mean.view(shape)) / self.std.view(shape)


class StackedFlatten(nn.Module):
    """Images (B, R * channels, H, W) to features (R, B, D); features as they are."""

    def __init__(self, n_models: int) -> None:
        super().__init__()
        self.n_models = n_models

    def forward(self, x: Tensor) -> Tensor:
        """As the class says."""
        return x if x.ndim == 3 else x.reshape(len(x), self.n_models, -1).transpose(0, 1).contiguous()


def stacks(layer: nn.Module) -> bool:
    """Whether a network can be stacked, layer by layer."""
    if type(layer) in CONTAINERS:
        return all(stacks(child) for child in layer.children())
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    if isinstance(layer, nn.BatchNorm2d):
        return layer.affine and layer.track_running_stats
    if isinstance(layer, nn.GroupNorm):
        return layer.affine
    if isinstance(layer, nn.Linear):
        return layer.bias is not None
    return type(layer) in (*UNCHANGED, nn.Flatten, Normalization)


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """One network of all; the models are not changed.

    Args:
        models: R, of one architecture that ``stacks``, in training mode.
    """
    first = models[0]
    if type(first) not in CONTAINERS:
        return _layer(models)
    whole = copy.copy(first)  # its forward pass with other children
    whole._modules = {
        name: stack([model.get_submodule(name) for model in models]) for name, _ in first.named_children()
    }
    return whole


def _layer(layers: Sequence[nn.Module]) -> nn.Module:
    first, n = layers[0], len(layers)
    if isinstance(first, nn.Linear):
        return StackedLinear(cast(Sequence[nn.Linear], layers))
    if isinstance(first, Normalization):
        return StackedNormalization(cast(Sequence[Normalization], layers))
    if isinstance(first, nn.Flatten):
        return StackedFlatten(n)
    if isinstance(first, UNCHANGED):
        return first
    whole = copy.deepcopy(first)
    if isinstance(whole, nn.Conv2d):
        whole.in_channels, whole.out_channels, whole.groups = n * whole.in_channels, n * whole.out_channels, n
    elif isinstance(whole, nn.BatchNorm2d):
        whole.num_features *= n
    elif isinstance(whole, nn.GroupNorm):
        whole.num_groups, whole.num_channels = n * whole.num_groups, n * whole.num_channels
    for name, _ in first.named_parameters():
        whole.register_parameter(name, nn.Parameter(torch.cat([getattr(layer, name).detach() for layer in layers])))
    for name, buffer in first.named_buffers():
        if buffer.ndim:  # not the number of batches, which all have in common
            whole.register_buffer(name, torch.cat([getattr(layer, name) for layer in layers]))
    return whole


def slice_of(state: State, like: State, number: int, n_models: int) -> dict[str, Tensor]:
    """One model's part of a stack's weights and buffers, in that model's shapes."""
    parts = {}
    for name, value in state.items():
        own = like[name]
        parts[name] = value.reshape(n_models, *own.shape)[number].clone() if own.ndim else value.clone()
    return parts
