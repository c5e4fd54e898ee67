"""The last linear layer of a network and what goes into it, for defenses that act there."""

from __future__ import annotations

from torch import nn

from membrane.core.errors import SettingError


def head_of(model: nn.Module, n_classes: int, name: str) -> nn.Linear:
    """The last linear layer that answers with ``n_classes`` numbers; its inputs are the penultimate features.

    Args:
        model: A classifier.
        n_classes: C.
        name: Of the defense, for the error.

    Raises:
        SettingError: If there is none.
    """
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == n_classes]
    if not heads:
        raise SettingError(f"{name}: the network does not end in a linear layer with {n_classes} outputs.")
    return heads[-1]
