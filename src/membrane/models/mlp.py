"""Multilayer perceptron for features and for small images."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from membrane.models.model import Model, Normalization, positive


@dataclass(frozen=True)
class MLP(Model):
    """Linear layers with ReLU between them; images are flattened.

    Args:
        widths: Hidden widths, input side first.
    """

    name: ClassVar[str] = "mlp"

    widths: tuple[int, ...] = (256, 128)

    def __post_init__(self) -> None:
        positive(self.name, widths=self.widths)

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, flatten, hidden1, hidden2, ..., head."""
        layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(shape[0]), flatten=nn.Flatten())
        n_inputs = math.prod(shape)
        for i, width in enumerate(self.widths, 1):
            layers[f"hidden{i}"] = nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU())
            n_inputs = width
        layers["head"] = nn.Linear(n_inputs, n_classes)
        return nn.Sequential(layers)
