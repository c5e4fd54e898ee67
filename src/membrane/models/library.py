"""Networks of other libraries as entries of the zoo: their architecture and their own first weights.

What is ours around them: normalized inputs, other numbers of channels, a stem for small images, GroupNorm, weights
that follow from the passed generator alone.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import layer_stream, spawn_seed
from membrane.core.settings import did_you_mean
from membrane.data.examples import Examples
from membrane.models.model import Model, Normalization, image_shape
from membrane.models.norms import Norm, check_norm, to_group_norm
from membrane.models.signals import evaluating


class Resize(nn.Module):
    """Images (B, C, H, W) to (B, C, size, size), bilinear, smoothed where it shrinks them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] == (self.size, self.size):
            return x
        return F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)


@dataclass(frozen=True)
class LibraryModel(Model):
    """Base class: ``bare`` makes the library's network, the rest is done here.

    Args:
        norm: "batch" (as the library has it) or "group" (GroupNorm in the place of every BatchNorm).
    """

    library: ClassVar[str]  # module that is needed

    norm: Norm = "batch"

    def __post_init__(self) -> None:
        check_norm(self.name, self.norm)
        if importlib.util.find_spec(self.library) is None:
            raise SettingError(f"model {self.name!r} needs {self.library}: pip install 'membrane[vision]'.")

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        """The library's network for images (channels, *size), first weights drawn from PyTorch's global stream."""
        raise NotImplementedError

    @property
    def is_pretrained(self) -> bool:
        """Whether ``build`` starts from published weights."""
        return False

    @property
    def resize(self) -> int | None:
        """Side that images are brought to first, pixels; None leaves them as they are."""
        return None

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, resize (if asked for), net."""
        with layer_stream(0):
            return self._around(shape, n_classes, pretrained=False)

    def fresh(self, shape: tuple[int, ...], n_classes: int, generator: torch.Generator) -> nn.Module:
        with layer_stream(spawn_seed(generator)):
            return self._around(shape, n_classes, self.is_pretrained)

    def build(self, members: Examples, generator: torch.Generator) -> nn.Module:
        net = super().build(members, generator)
        published = getattr(net.get_submodule("net"), "pretrained_cfg", {}) if self.is_pretrained else {}
        normalize = net.get_submodule("normalize")
        if isinstance(normalize, Normalization) and len(published.get("mean", ())) == len(normalize.mean):
            normalize.mean.copy_(torch.tensor(published["mean"]))  # what the published weights were trained on
            normalize.std.copy_(torch.tensor(published["std"]))
        return net

    def _around(self, shape: tuple[int, ...], n_classes: int, pretrained: bool) -> nn.Module:
        channels, height, width = image_shape(shape, self.name)
        size = (height, width) if self.resize is None else (self.resize, self.resize)
        layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(channels))
        if self.resize is not None:
            layers["resize"] = Resize(self.resize)
        with torch.device("cpu"):  # some libraries read numbers while they build, which the meta device does not have
            net = self.bare(channels, size, n_classes, pretrained)
            if self.norm == "group" and not to_group_norm(net):
                raise SettingError(f"model {self.name!r} has no BatchNorm that GroupNorm could stand in for.")
            self._check(net, torch.zeros(2, channels, *size), n_classes)
        return nn.Sequential(layers | {"net": net})

    def _check(self, net: nn.Module, x: Tensor, n_classes: int) -> None:
        try:
            with evaluating(net):
                logits = net(x)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ZeroDivisionError) as problem:
            raise ModelError(
                f"{self} cannot take images of {tuple(x.shape[1:])} ({str(problem).splitlines()[0]}). Choose a larger "
                "size to bring them to, or a network that is made for small ones."
            ) from problem
        if not isinstance(logits, Tensor) or logits.shape != (2, n_classes):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"{self} answers two images with {got}; a classifier gives logits {(2, n_classes)}.")


def check_arch(model: str, arch: str, known: Iterable[str], listed_by: str) -> None:
    """Refuse an architecture that the library does not have.

    Raises:
        SettingError: With the nearest name, and where all of them stand.
    """
    names = set(known)
    if arch not in names:
        hint = did_you_mean(arch, sorted(names))
        raise SettingError(f"model {model!r} has no arch {arch!r}. {hint}There are {len(names)}; see {listed_by}.")


def other_channels(net: nn.Module, channels: int) -> None:
    """Let the first convolution take another number of channels than 3; its weights are drawn anew."""
    path, first = _first_convolution(net)
    if first.in_channels != channels:
        _put(net, path, _like(first, channels, first.kernel_size, first.stride, first.padding))


def small_stem(net: nn.Module) -> None:
    """Keep the resolution of small images at the start of a network made for large ones, in place.

    A first convolution with overlapping windows becomes 3x3 with stride 1, and a max pooling before the second
    convolution is left out; one that cuts the image into patches gets patches of half the side. Changed
    convolutions are drawn anew.
    """
    path, first = _first_convolution(net)
    kernel, stride = first.kernel_size[0], first.stride[0]
    if stride > 1 and kernel == stride:
        _put(net, path, _like(first, first.in_channels, (kernel // 2,) * 2, (stride // 2,) * 2, 0))
    elif stride > 1:
        _put(net, path, _like(first, first.in_channels, (3, 3), (1, 1), 1))
    seen_first = False
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d):
            if seen_first:
                return
            seen_first = True
        elif seen_first and isinstance(module, nn.MaxPool2d):
            _put(net, name, nn.Identity())
            return


def _first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ModelError("the network has no convolution, so its stem cannot be fitted to other images.")


def _like(
    layer: nn.Conv2d, n_in: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: int | str | tuple[int, ...]
) -> nn.Conv2d:
    has_bias = layer.bias is not None
    return nn.Conv2d(n_in, layer.out_channels, kernel, stride, padding, bias=has_bias)  # type: ignore[arg-type]


def _put(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, module)
