"""BatchNorm, or GroupNorm in its place: what an example's answer is then depends on no other example.

Source: Wu and He 2018, "Group Normalization", arXiv:1803.08494.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from membrane.core.errors import SettingError

Norm = Literal["batch", "group"]
_GROUPS = 8


def norm_layer(kind: Norm, width: int) -> nn.Module:
    """Normalization of ``width`` channels; GroupNorm in 8 groups, or one for each of fewer channels."""
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(min(_GROUPS, width), width)


def check_norm(model: str, kind: str, widths: tuple[int, ...] = ()) -> None:
    """Refuse a normalization that does not exist, and widths that GroupNorm cannot divide.

    Raises:
        SettingError: If it is such.
    """
    if kind not in get_args(Norm):
        raise SettingError(f"model {model!r}: norm is {kind!r}; it must be {' or '.join(get_args(Norm))}.")
    if kind == "group" and any(width % min(_GROUPS, width) for width in widths):
        raise SettingError(f"model {model!r}: widths {widths} with GroupNorm must be multiples of 8 (or below 8).")


def to_group_norm(net: nn.Module) -> int:
    """Put GroupNorm in the place of every BatchNorm of a finished network, weight and bias kept; return how many.

    Groups are 8, or the greatest divisor that 8 and the number of channels have in common. What a library's layer does
    after normalizing (timm's BatchNormAct2d drops and activates) is done after GroupNorm, too.
    """
    n_replaced = 0
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BatchNorm):
                setattr(parent, name, _group_norm(layer))
                n_replaced += 1
    return n_replaced


def _group_norm(layer: _BatchNorm) -> nn.Module:
    new = nn.GroupNorm(math.gcd(_GROUPS, layer.num_features), layer.num_features, layer.eps, layer.affine)
    if layer.affine:
        new.weight, new.bias = layer.weight, layer.bias
    after = [module for _, module in layer.named_children() if not isinstance(module, nn.Identity)]
    return nn.Sequential(new, *after) if after else new
