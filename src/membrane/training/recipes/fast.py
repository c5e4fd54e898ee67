"""Recipes that train in seconds to minutes on two processors: those behind the tables in `results/`.

Networks and training sets are small so that banks of models fit into an evening. Accuracies are far below what the data
allow; leakage without augmentation is far above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from membrane.models import MLP, Model, ResNet
from membrane.training.recipes.named import NamedRecipe


@dataclass(frozen=True)
class FastCifar10(NamedRecipe):
    """ResNet of 0.31 million parameters on CIFAR-10: 24 epochs in bfloat16, every epoch kept."""

    name: ClassVar[str] = "fast_cifar10"
    source: ClassVar[str] = "membrane, benchmarks/pptp_cifar10.py"
    made_for: ClassVar[str] = "resnet on CIFAR-10, 5 000 members"
    measured: ClassVar[str] = (
        "results/pptp_cifar10/plain, 8 models: test accuracy .547 with 250 mislabelled canaries in the pool, .571 "
        "without; AUC of the strongest attack .955. With augment = true, results/pptp_cifar10/augmented: .670, .675 "
        "and .652"
    )

    model: Model = field(default_factory=ResNet)
    keep: int | None = None
    precision: Literal["float32", "bfloat16"] = "bfloat16"


@dataclass(frozen=True)
class FastLocation30(NamedRecipe):
    """Perceptron with two hidden layers on Location30: 40 epochs, every epoch kept."""

    name: ClassVar[str] = "fast_location30"
    source: ClassVar[str] = "membrane, benchmarks/pptp_location30.py"
    made_for: ClassVar[str] = "mlp on Location30 (446 binary features, 30 classes), 1 500 members"
    measured: ClassVar[str] = (
        "results/pptp_location30/plain, 16 models: test accuracy .560 with 125 mislabelled canaries in the pool, .598 "
        "without; AUC of the strongest attack .971"
    )

    model: Model = field(default_factory=MLP)
    epochs: int = 40
    batch_size: int = 64
    lr: float = 0.01
    keep: int | None = None
