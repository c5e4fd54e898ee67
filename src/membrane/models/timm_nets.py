"""Classifiers of timm, by name, with or without their published weights.

Source: Wightman 2019, "PyTorch Image Models", github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.models.library import LibraryModel, check_arch, small_stem
from membrane.models.model import positive


@dataclass(frozen=True)
class Timm(LibraryModel):
    """Any classifier of timm by its name.

    Args:
        norm: "batch" (as timm has it) or "group" (GroupNorm in the place of every BatchNorm).
        arch: Name, such as "resnet18", "vit_tiny_patch16_224" or "resnet18.a1_in1k"; "local-dir:<folder>" and
            "hf-hub:<name>" work as in timm.
        size: Side that images are brought to first, pixels; nothing leaves them as they are.
        stem: "library" (as published), or "small" to keep the resolution of small images: 3x3 with stride 1 and no
            pooling, or patches of half the side.
        pretrained: Start from published weights, which timm downloads once; inputs are then normalized as those
            weights expect, and a head for another number of classes is drawn anew.
    """

    name: ClassVar[str] = "timm"
    library: ClassVar[str] = "timm"

    arch: str = "resnet18"
    size: int | None = None
    stem: Literal["library", "small"] = "library"
    pretrained: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            positive(self.name, size=self.size)
        if self.stem not in ("library", "small"):
            raise SettingError(f"model 'timm': stem is {self.stem!r}; it must be library or small.")
        if ":" not in self.arch:
            import timm

            if not timm.is_model(self.arch):
                known = timm.list_models() + timm.list_models(pretrained=True)
                check_arch(self.name, self.arch, known, "timm.list_models()")

    @property
    def resize(self) -> int | None:
        return self.size

    @property
    def is_pretrained(self) -> bool:
        return self.pretrained

    def bare(self, channels: int, size: tuple[int, int], n_classes: int, pretrained: bool) -> nn.Module:
        import timm

        settings: dict[str, Any] = {"pretrained": pretrained, "in_chans": channels, "num_classes": n_classes}
        try:
            try:
                net: nn.Module = timm.create_model(self.arch, img_size=size, **settings)
            except TypeError:  # this one takes images of any size and has no such setting
                net = timm.create_model(self.arch, **settings)
        except Exception as problem:  # of a hub, its cache, the network, the architecture: many kinds
            raise ModelError(_why(self.arch, pretrained, size, problem)) from problem
        if self.stem == "small":
            small_stem(net)
        return net


def _why(arch: str, pretrained: bool, size: tuple[int, int], problem: Exception) -> str:
    what = f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else 'no more is known'}"
    if pretrained or arch.startswith("hf-hub:"):
        return (
            f"timm could not give the published weights of {arch} ({what}). Without a connection, fetch them "
            "elsewhere, save them with safetensors.torch.save_file, and name that file as the recipe's start."
        )
    return f"timm cannot build {arch} for images of {size[0]}x{size[1]} ({what}). Choose another size to bring them to."
