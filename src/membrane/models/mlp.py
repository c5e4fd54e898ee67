"""Multilayer perceptrons for features and for small images.

Source of the widths for Purchase100 and Texas100: Jia et al. 2019, "MemGuard", arXiv:1909.10594, and Nasr et al.
2018, "Machine Learning with Membership Privacy using Adversarial Regularization", arXiv:1807.05852 (tanh). Theirs
take the 0/1 features as they are, and so do ours.

Standardizing by the members' statistics makes a rare feature a large input: a 0/1 feature that one member in a hundred
has is about 10 there. Such networks learn their members by heart sooner and generalize less; on Location30 it costs
accuracy and privacy both.
"""

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
        standardize: Whether inputs are brought to mean 0 and std 1 by the members' statistics; for features that
            differ in scale. 0/1 features are better taken as they are.
    """

    name: ClassVar[str] = "mlp"
    activation: ClassVar[type[nn.Module]] = nn.ReLU

    widths: tuple[int, ...] = (256, 128)
    standardize: bool = True

    def __post_init__(self) -> None:
        positive(self.name, widths=self.widths)

    @property
    def standardizes(self) -> bool:
        return self.standardize

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """Children: normalize, flatten, hidden1, hidden2, ..., head."""
        return perceptron(shape, self.widths, n_classes, self.activation)


@dataclass(frozen=True)
class PurchaseMLP(MLP):
    """The usual network for Purchase100: tanh, 1024-512-256-128 hidden units.

    Args:
        widths: Hidden widths, input side first.
        standardize: As in ``MLP``; not by default, as in the source.
    """

    name: ClassVar[str] = "purchase_mlp"
    activation: ClassVar[type[nn.Module]] = nn.Tanh

    widths: tuple[int, ...] = (1024, 512, 256, 128)
    standardize: bool = False


@dataclass(frozen=True)
class TexasMLP(PurchaseMLP):
    """The usual network for Texas100: tanh, 2048-1024-512-256-128 hidden units."""

    name: ClassVar[str] = "texas_mlp"

    widths: tuple[int, ...] = (2048, 1024, 512, 256, 128)


def perceptron(
    shape: tuple[int, ...], widths: tuple[int, ...], n_classes: int, activation: type[nn.Module]
) -> nn.Sequential:
    """Linear layers with an activation between them, for inputs (B, *shape)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalization(shape[0]), flatten=nn.Flatten())
    n_inputs = math.prod(shape)
    for i, width in enumerate(widths, 1):
        layers[f"hidden{i}"] = nn.Sequential(nn.Linear(n_inputs, width), activation())
        n_inputs = width
    layers["head"] = nn.Linear(n_inputs, n_classes)
    return nn.Sequential(layers)
