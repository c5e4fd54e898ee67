"""What an entry of the model zoo is: settings that build a network for given inputs and classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError
from membrane.data.examples import Examples
from membrane.data.inputs import Inputs, pieces


class Normalization(nn.Module):
    """(x - mean) / std per channel or feature, so that a network takes raw inputs: pixels in [0, 1] or features.

    Args:
        n_channels: Channels of images (B, n_channels, H, W), or features (B, n_channels).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels))
        self.register_buffer("std", torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)

    def reset(self) -> None:
        """Mean 0 and std 1, so that inputs pass as they are."""
        self.mean.zero_()
        self.std.fill_(1.0)

    def fit(self, x: Inputs) -> None:
        """Take mean and std of inputs (N, ...); what never varies gets std 1."""
        is_image = x.dtype == torch.uint8 and x.ndim == 4
        # From zero, not from the buffers: in a network that was just built they are uninitialized memory.
        n, mean, variance = 0, torch.zeros_like(self.mean).double(), torch.zeros_like(self.mean).double()
        for piece in pieces(x):  # merged as in Chan et al. 1979; exact where there is one piece, or where all is equal
            scaled = (piece.double() / 255 if is_image else piece.double()).transpose(0, 1).flatten(1)
            new_variance, new_mean = torch.var_mean(scaled, 1, correction=0)
            before, apart = n, new_mean - mean
            n += scaled.shape[1]
            old, new = before / n, scaled.shape[1] / n
            variance = variance * old + new_variance * new + apart**2 * (old * new)
            mean = mean + apart * new if before else new_mean
        std = variance.sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))


@dataclass(frozen=True)
class Model:
    """Base class of the zoo: a frozen set of settings, and ``build``."""

    name: ClassVar[str]

    @property
    def standardizes(self) -> bool:
        """Whether inputs are brought to mean 0 and std 1 by the members' statistics, or taken as they are."""
        return True

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """The bare network for inputs (B, *shape), its first child a ``Normalization`` called ``normalize``."""
        raise NotImplementedError

    def build(self, members: Examples, generator: torch.Generator) -> nn.Module:
        """Freshly initialized network fitted to the inputs' shape, classes and, if it standardizes, statistics.

        Args:
            members: Training set; only shape, classes and per-channel statistics are used.
            generator: Draws the initial weights.

        Raises:
            ModelError: If this kind of model cannot take such inputs.
        """
        net = self.fresh(tuple(members.x.shape[1:]), len(members.classes), generator)
        normalize = net.get_submodule("normalize")
        assert isinstance(normalize, Normalization)
        if self.standardizes:
            normalize.fit(members.x)
        else:
            normalize.reset()
        return net

    def fresh(self, shape: tuple[int, ...], n_classes: int, generator: torch.Generator) -> nn.Module:
        """The bare network with weights drawn from ``generator``; inputs are not normalized yet."""
        with torch.device("meta"):  # no weights are drawn from the global generator
            net = self.network(shape, n_classes)
        net.to_empty(device="cpu")
        initialize(net, generator)
        return net


def initialize(net: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, from ``generator`` alone.

    Convolutions and linear layers: uniform within 1/sqrt(fan_in), PyTorch's default. Normalization
    layers: weight 1, bias 0, running mean 0 and variance 1. Parameters that a module holds beside its
    layers (class token, position embedding): normal with std 0.02.
    """
    for module in net.modules():
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in own.values():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.reset_running_stats()
        else:
            for parameter in own.values():
                nn.init.normal_(parameter, std=0.02, generator=generator)


def image_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises:
        ModelError: If inputs are not images.
    """
    if len(shape) != 3:
        raise ModelError(
            f"model {name!r} takes images (channels, height, width); inputs have shape {shape}. Try 'mlp'."
        )
    return shape


def positive(name: str, **values: int | tuple[int, ...]) -> None:
    """Refuse settings that are not positive whole numbers.

    Raises:
        SettingError: Naming the model and the setting.
    """
    for setting, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or any(number < 1 for number in numbers):
            raise SettingError(f"model {name!r}: {setting} is {value}; it must hold whole numbers of 1 or more.")
