"""Residual networks with a stem for small images (3x3 convolution, no pooling).

Source: He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, basic block;
stem for 32x32 images as in their CIFAR-10 section; shortcut by 1x1 convolution where the shape changes (their
option B; their own CIFAR networks of 20 and 56 layers pad with zeros, option A, and have 1 % fewer parameters).
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


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (B, n_in, H, W) to (B, width, H / stride, W / stride)."""

    def __init__(self, n_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.norm1 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = norm_layer(norm, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, width, 1, stride, bias=False), norm_layer(norm, width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


@dataclass(frozen=True)
class ResNet(Model):
    """Stem, stages of basic blocks (stride 2 from the second on), global average pooling, linear head.

    Args:
        widths: Channels of each stage; the stem has those of the first.
        blocks: Blocks in each stage; as many numbers as ``widths``.
        norm: "batch" (BatchNorm) or "group" (GroupNorm of at most 8 groups, no running statistics).
    """

    name: ClassVar[str] = "resnet"

    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        positive(self.name, widths=self.widths, blocks=self.blocks)
        if len(self.widths) != len(self.blocks):
            raise SettingError(
                f"resnet has {len(self.widths)} widths and {len(self.blocks)} blocks; give one each a stage."
            )
        check_norm(self.name, self.norm, self.widths)

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, stem, stage1, stage2, ..., pool, flatten, head."""
        channels, _, _ = image_shape(shape, self.name)
        width = self.widths[0]
        stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), norm_layer(self.norm, width), nn.ReLU())
        layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(channels), stem=stem)
        n_in = width
        for i, (width, depth) in enumerate(zip(self.widths, self.blocks, strict=True)):
            stage = nn.Sequential()
            for block in range(depth):
                stage.append(BasicBlock(n_in, width, 2 if i > 0 and block == 0 else 1, self.norm))
                n_in = width
            layers[f"stage{i + 1}"] = stage
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(n_in, n_classes)
        return nn.Sequential(layers)


@dataclass(frozen=True)
class ResNet18(ResNet):
    """ResNet-18 for small images: four stages of two blocks, 64 to 512 channels, 11.2 million parameters."""

    name: ClassVar[str] = "resnet18"

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)


@dataclass(frozen=True)
class ResNet20(ResNet):
    """ResNet-20 for small images: three stages of three blocks, 16 to 64 channels, 0.27 million parameters."""

    name: ClassVar[str] = "resnet20"

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (3, 3, 3)


@dataclass(frozen=True)
class ResNet56(ResNet):
    """ResNet-56 for small images: three stages of nine blocks, 16 to 64 channels, 0.86 million parameters."""

    name: ClassVar[str] = "resnet56"

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (9, 9, 9)
