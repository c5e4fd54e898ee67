"""The undefended training of the evaluation that defenses are measured against most strictly.

Source: Aerni, Zhang and Tramer 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading",
arXiv:2404.17399, and its code (github.com/ethz-spylab/misleading-privacy-evals, src/experiments/undefended.py): 64
models, each on half of CIFAR-10's training images, 500 of which are canaries. Milestones count from the end of the
warm-up there, so the first step comes after 61 epochs.

Where we differ: their blocks have biases, take the stride in the second convolution and the shortcut from before the
normalization; the warm-up begins a step higher here; images are normalized by the members' own mean and spread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from membrane.models import Model, WRN16x4
from membrane.training.recipes.named import NamedRecipe


@dataclass(frozen=True)
class AerniCifar10(NamedRecipe):
    """WRN-16-4 on CIFAR-10: 200 epochs with flip and crop, .1 divided by 5 three times."""

    name: ClassVar[str] = "aerni_cifar10"
    source: ClassVar[str] = "Aerni et al. 2024, arXiv:2404.17399"
    made_for: ClassVar[str] = "wrn16_4 on CIFAR-10, 25 000 members"
    measured: ClassVar[str] = (
        "not measured here; the paper's undefended models: test accuracy .945, TPR at 0.1 % FPR .134 on the "
        "population, 1.0 on canaries"
    )

    model: Model = field(default_factory=WRN16x4)
    epochs: int = 200
    batch_size: int = 256
    augment: bool = True
    nesterov: bool = False
    milestones: tuple[tuple[float, float], ...] = ((0.305, 0.2), (0.605, 0.04), (0.805, 0.008))
