"""Small vision transformer for small images.

Source: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", arXiv:2010.11929; pre-norm blocks, class
token, learned positions, sizes for 32x32 inputs, no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import ModelError, SettingError
from membrane.models.model import Model, Normalization, image_shape, positive


class TransformerBlock(nn.Module):
    """Self-attention and MLP, each behind LayerNorm and a shortcut: (B, T, width) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.query_key_value(self.norm1(x)).view(b, t, 3, self.heads, width // self.heads).unbind(2)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        x = x + self.project(y.transpose(1, 2).reshape(b, t, width))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Patches to tokens, a class token and positions, blocks, LayerNorm, linear head on the class token."""

    def __init__(self, shape: tuple[int, int, int], n_classes: int, settings: ViT) -> None:
        super().__init__()
        channels, height, width = shape
        self.normalize = Normalization(channels)
        self.embed = nn.Conv2d(channels, settings.width, settings.patch, settings.patch)
        n_tokens = (height // settings.patch) * (width // settings.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, settings.width))
        self.position = nn.Parameter(torch.zeros(1, 1 + n_tokens, settings.width))
        self.blocks = nn.Sequential(*(TransformerBlock(settings.width, settings.heads) for _ in range(settings.depth)))
        self.norm = nn.LayerNorm(settings.width)
        self.head = nn.Linear(settings.width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(self.normalize(x)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


@dataclass(frozen=True)
class ViT(Model):
    """Vision transformer.

    Args:
        patch: Side of a patch, pixels; must divide height and width.
        width: Token width; a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads.
    """

    name: ClassVar[str] = "vit"

    patch: int = 4
    width: int = 96
    depth: int = 6
    heads: int = 3

    def __post_init__(self) -> None:
        positive(self.name, patch=self.patch, width=self.width, depth=self.depth, heads=self.heads)
        if self.width % self.heads:
            raise SettingError(f"vit: width {self.width} must be a multiple of heads {self.heads}.")

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, embed, blocks, norm, head; class_token and position are held directly."""
        channels, height, width = image_shape(shape, self.name)
        if height % self.patch or width % self.patch:
            raise ModelError(
                f"vit: patch {self.patch} does not divide images of {height}x{width}; choose one that does."
            )
        return VisionTransformer((channels, height, width), n_classes, self)


@dataclass(frozen=True)
class ViTTiny(ViT):
    """ViT-Ti with patches of 4 pixels: 12 blocks of width 192, 5.4 million parameters.

    Width, depth and heads are those of Touvron et al. 2020, "Training data-efficient image transformers",
    arXiv:2012.12877.
    """

    name: ClassVar[str] = "vit_tiny"

    width: int = 192
    depth: int = 12
