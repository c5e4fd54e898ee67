"""Wide residual networks for small images.

Source: Zagoruyko and Komodakis 2016, "Wide Residual Networks", arXiv:1605.07146: normalization and ReLU before each
convolution, two 3x3 convolutions a block, widths 16, 32 and 64 times a factor, no dropout.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import SettingError
from membrane.models.model import Model, Normalization, image_shape, positive
from membrane.models.norms import Norm, check_norm, norm_layer


class WideBlock(nn.Module):
    """Two times norm, ReLU, 3x3 convolution, around a shortcut: (B, n_in, H, W) to (B, width, H / stride, W / stride).

    Where the shape changes, the shortcut is a 1x1 convolution of the normalized input.
    """

    def __init__(self, n_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = norm_layer(norm, n_in)
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.norm2 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        changes = stride != 1 or n_in != width
        self.shortcut = nn.Conv2d(n_in, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        ready = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(ready))))
        out: Tensor = y + (x if self.shortcut is None else self.shortcut(ready))
        return out


@dataclass(frozen=True)
class WideResNet(Model):
    """Wide residual network: stem, three stages, normalization and ReLU, global average pooling, linear head.

    Args:
        depth: Layers, 6 n + 4 for n blocks a stage: 10, 16, 22, 28, 40 ...
        factor: Channels of the stages are 16, 32 and 64 times this.
        norm: "batch" (BatchNorm) or "group" (GroupNorm of 8 groups, no running statistics).
    """

    name: ClassVar[str] = "wide_resnet"

    depth: int = 28
    factor: int = 2
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        positive(self.name, depth=self.depth, factor=self.factor)
        check_norm(self.name, self.norm)
        if self.depth < 10 or (self.depth - 4) % 6:
            near = max(10, self.depth - (self.depth - 4) % 6)
            raise SettingError(f"model {self.name!r}: depth is {self.depth}; it must be 6 n + 4, such as {near}.")

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, stem, stage1, stage2, stage3, norm, relu, pool, flatten, head."""
        channels, _, _ = image_shape(shape, self.name)
        stem = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(channels), stem=stem)
        n_in = 16
        for i, width in enumerate((16 * self.factor, 32 * self.factor, 64 * self.factor)):
            stage = nn.Sequential()
            for block in range((self.depth - 4) // 6):
                stage.append(WideBlock(n_in, width, 2 if i > 0 and block == 0 else 1, self.norm))
                n_in = width
            layers[f"stage{i + 1}"] = stage
        layers |= {"norm": norm_layer(self.norm, n_in), "relu": nn.ReLU()}
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": nn.Linear(n_in, n_classes)}
        return nn.Sequential(layers)


@dataclass(frozen=True)
class WRN16x4(WideResNet):
    """WRN-16-4: 16 layers, 4 times as wide, 2.7 million parameters."""

    name: ClassVar[str] = "wrn16_4"

    depth: int = 16
    factor: int = 4


@dataclass(frozen=True)
class WRN28x2(WideResNet):
    """WRN-28-2: 28 layers, 2 times as wide, 1.5 million parameters."""

    name: ClassVar[str] = "wrn28_2"
