"""VGG networks for small images.

Source: Simonyan and Zisserman 2014, "Very Deep Convolutional Networks", arXiv:1409.1556, configurations A (11 layers)
and D (16), with BatchNorm after each convolution as in Ioffe and Szegedy 2015, arXiv:1502.03167. For 32x32 images two
hidden layers of 512 units with dropout stand in for the three large ones, as is usual.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from membrane.core.errors import SettingError
from membrane.models.model import Model, Normalization, image_shape, positive
from membrane.models.norms import Norm, check_norm, norm_layer


@dataclass(frozen=True)
class VGG11(Model):
    """VGG-11: 3x3 convolutions, halved five times, two hidden layers with dropout, linear head; 9.8 million parameters.

    Args:
        widths: Channels of each stage; a stage ends with 2x2 max pooling, which leaves a single pixel as it is.
        convolutions: Convolutions in each stage; as many numbers as ``widths``.
        hidden: Width of the two hidden layers.
        dropout: Share of inputs that each hidden layer drops in training, 0 to below 1.
        norm: "batch" (BatchNorm) or "group" (GroupNorm of at most 8 groups, no running statistics).
    """

    name: ClassVar[str] = "vgg11_bn"

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    convolutions: tuple[int, ...] = (1, 1, 2, 2, 2)
    hidden: int = 512
    dropout: float = 0.5
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        positive(self.name, widths=self.widths, convolutions=self.convolutions, hidden=self.hidden)
        check_norm(self.name, self.norm, self.widths)
        if len(self.widths) != len(self.convolutions):
            raise SettingError(
                f"model {self.name!r} has {len(self.widths)} widths and {len(self.convolutions)} convolutions; "
                "give one each a stage."
            )
        if not 0 <= self.dropout < 1:
            raise SettingError(f"model {self.name!r}: dropout is {self.dropout}; it must be from 0 to below 1.")

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, stage1, stage2, ..., pool, flatten, hidden1, hidden2, head."""
        n_in, _, _ = image_shape(shape, self.name)
        layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(n_in))
        for i, (width, depth) in enumerate(zip(self.widths, self.convolutions, strict=True), 1):
            stage = nn.Sequential()
            for _ in range(depth):
                stage.extend([nn.Conv2d(n_in, width, 3, 1, 1), norm_layer(self.norm, width), nn.ReLU()])
                n_in = width
            layers[f"stage{i}"] = stage.append(nn.MaxPool2d(2, ceil_mode=True))
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        for i in (1, 2):
            layers[f"hidden{i}"] = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(n_in, self.hidden), nn.ReLU())
            n_in = self.hidden
        layers["head"] = nn.Linear(n_in, n_classes)
        return nn.Sequential(layers)


@dataclass(frozen=True)
class VGG16(VGG11):
    """VGG-16: as VGG-11 with 13 convolutions, 15.3 million parameters."""

    name: ClassVar[str] = "vgg16_bn"

    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
