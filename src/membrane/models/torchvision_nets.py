"""Classifiers of torchvision: any by its name, and four with settings for small images.

Sources: Huang et al. 2016, "Densely Connected Convolutional Networks", arXiv:1608.06993; Howard et al. 2019, "Searching
for MobileNetV3", arXiv:1905.02244; Liu et al. 2021, "Swin Transformer", arXiv:2103.14030; Liu et al. 2022, "A ConvNet
for the 2020s", arXiv:2201.03545. All are built by torchvision, with its first weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.models.library import LibraryModel, check_arch, other_channels, small_stem
from membrane.models.model import positive

_OF_IMAGENET = ("googlenet", "inception_v3")  # have a second head for training, and announce a change of their init


@dataclass(frozen=True)
class Torchvision(LibraryModel):
    """Any classifier of torchvision by its name, without published weights.

    Args:
        norm: "batch" (as torchvision has it) or "group" (GroupNorm in the place of every BatchNorm).
        arch: Name, such as "resnet50" or "regnet_y_400mf".
        size: Side that images are brought to first, pixels; nothing leaves them as they are.
        stem: "library" (as published), or "small" to keep the resolution of small images: 3x3 with stride 1 and no
            pooling, or patches of half the side.
    """

    name: ClassVar[str] = "torchvision"
    library: ClassVar[str] = "torchvision"

    arch: str = "resnet50"
    size: int | None = None
    stem: Literal["library", "small"] = "library"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            positive(self.name, size=self.size)
        if self.stem not in ("library", "small"):
            raise SettingError(f"model 'torchvision': stem is {self.stem!r}; it must be library or small.")
        from torchvision import models

        check_arch(self.name, self.arch, models.list_models(module=models), "torchvision.models.list_models()")

    @property
    def resize(self) -> int | None:
        return self.size

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        settings: dict[str, Any] = {"weights": None, "num_classes": n_classes}
        if self.arch in _OF_IMAGENET:
            settings |= {"aux_logits": False, "init_weights": True}
        if self.arch.startswith("vit_"):
            settings["image_size"] = size[0]
        return torchvision_net(self.arch, channels, self.stem == "small", settings)


@dataclass(frozen=True)
class DenseNet121(LibraryModel):
    """DenseNet-121 with a stem for small images: 3x3 convolution with stride 1, no pooling.

    Args:
        norm: "batch" or "group" (GroupNorm in the place of every BatchNorm).
        growth: Channels that each layer adds: 32 as published (7 million parameters), 12 as often for CIFAR.
    """

    name: ClassVar[str] = "densenet121"
    library: ClassVar[str] = "torchvision"

    growth: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self.name, growth=self.growth)

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        from torchvision.models import DenseNet

        net: nn.Module = DenseNet(self.growth, (6, 12, 24, 16), 2 * self.growth, num_classes=n_classes)
        small_stem(net)
        other_channels(net, channels)
        return net


@dataclass(frozen=True)
class MobileNetV3(LibraryModel):
    """MobileNetV3 whose first convolution keeps the resolution of small images.

    Args:
        norm: "batch" or "group" (GroupNorm in the place of every BatchNorm).
        version: "small" (1.5 million parameters with 10 classes) or "large" (4.2 million).
        width: Factor of all channels.
        dropout: Share of inputs that the head drops in training.
    """

    name: ClassVar[str] = "mobilenet_v3"
    library: ClassVar[str] = "torchvision"

    version: Literal["small", "large"] = "small"
    width: float = 1.0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.width > 0 and 0 <= self.dropout < 1):
            raise SettingError(
                f"model 'mobilenet_v3': width {self.width} must be above 0, dropout {self.dropout} from 0 to below 1."
            )

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        settings = {"num_classes": n_classes, "width_mult": self.width, "dropout": self.dropout}
        return torchvision_net(f"mobilenet_v3_{self.version}", channels, True, settings)


@dataclass(frozen=True)
class SwinTiny(LibraryModel):
    """Swin-T for small images: patches of 2 pixels, windows of 4 by 4 tokens.

    Args:
        norm: Only "batch"; the network has LayerNorm and nothing to replace.
        patch: Side of a patch, pixels (published: 4).
        window: Side of an attention window, tokens (published: 7).
        depth_drop: Chance that the last block is skipped in training, rising from 0 at the first (published: 0.2).
    """

    name: ClassVar[str] = "swin_tiny"
    library: ClassVar[str] = "torchvision"

    patch: int = 2
    window: int = 4
    depth_drop: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self.name, patch=self.patch, window=self.window)

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        from torchvision.models import SwinTransformer

        net: nn.Module = SwinTransformer(
            patch_size=[self.patch, self.patch],
            embed_dim=96,
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
            window_size=[self.window, self.window],
            stochastic_depth_prob=self.depth_drop,
            num_classes=n_classes,
        )
        other_channels(net, channels)
        return net


@dataclass(frozen=True)
class ConvNeXtTiny(LibraryModel):
    """ConvNeXt-T for small images: patches of 2 pixels in place of 4.

    Args:
        norm: Only "batch"; the network has LayerNorm and nothing to replace.
        depth_drop: Chance that the last block is skipped in training, rising from 0 at the first (published: 0.1).
    """

    name: ClassVar[str] = "convnext_tiny"
    library: ClassVar[str] = "torchvision"

    depth_drop: float = 0.1

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        settings = {"num_classes": n_classes, "stochastic_depth_prob": self.depth_drop}
        return torchvision_net(self.name, channels, True, settings)


def torchvision_net(arch: str, channels: int, small: bool, settings: dict[str, Any]) -> nn.Module:
    """A network of torchvision for images with ``channels`` channels.

    Raises:
        ModelError: If torchvision cannot build it so.
    """
    from torchvision.models import get_model

    try:
        net: nn.Module = get_model(arch, **settings)
    except (RuntimeError, ValueError, TypeError, AssertionError) as problem:
        raise ModelError(f"torchvision cannot build {arch} with {settings}: {problem}") from problem
    if small:
        small_stem(net)
    other_channels(net, channels)
    return net
