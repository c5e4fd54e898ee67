"""The protocol of the laboratory that PPTP comes from, for ResNet-18.

Source: Fang and Kim 2024, "Center-Based Relaxed Learning Against Membership Inference Attacks", arXiv:2404.17674, and
its code (github.com/JEKimLab/UAI24_CRL, conf/train): plain SGD, steps of the learning rate, batches of 256. It splits
60 000 images into 15 000 for training, 15 000 for testing and a half for shadow models; here that is `pool = 30000`, of
which every model trains on half.

Where we differ: images are normalized by the members' own mean and spread, theirs by CIFAR's; flip and crop are drawn
for each image, theirs once for a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from membrane.models import Model, ResNet18
from membrane.training.recipes.named import NamedRecipe

_UNMEASURED = "not measured here; the paper's undefended model, mean of 5: "


@dataclass(frozen=True)
class LabCifar10(NamedRecipe):
    """ResNet-18 on CIFAR-10: 100 epochs without augmentation, learning rates .01, .001 and .0001."""

    name: ClassVar[str] = "lab_cifar10"
    source: ClassVar[str] = "Fang and Kim 2024, arXiv:2404.17674"
    made_for: ClassVar[str] = "resnet18 on CIFAR-10, 15 000 members"
    measured: ClassVar[str] = _UNMEASURED + "test accuracy .703, train 1.000, AUC of their learned attack .881"

    model: Model = field(default_factory=ResNet18)
    epochs: int = 100
    batch_size: int = 256
    lr: float = 0.01
    nesterov: bool = False
    warmup: int = 0
    milestones: tuple[tuple[float, float], ...] = ((0.5, 0.1), (0.8, 0.01))


@dataclass(frozen=True)
class LabCifar100(NamedRecipe):
    """ResNet-18 on CIFAR-100: 100 epochs with flip and crop, an epoch at .01, then .1, .01 and .001."""

    name: ClassVar[str] = "lab_cifar100"
    source: ClassVar[str] = "Fang and Kim 2024, arXiv:2404.17674"
    made_for: ClassVar[str] = "resnet18 on CIFAR-100, 15 000 members"
    measured: ClassVar[str] = _UNMEASURED + "test accuracy .581, train 1.000, AUC of their learned attack .869"

    model: Model = field(default_factory=ResNet18)
    epochs: int = 100
    batch_size: int = 256
    lr: float = 0.1
    augment: bool = True
    nesterov: bool = False
    warmup: int = 0
    milestones: tuple[tuple[float, float], ...] = ((0.0, 0.1), (0.01, 1.0), (0.5, 0.1), (0.8, 0.01))
