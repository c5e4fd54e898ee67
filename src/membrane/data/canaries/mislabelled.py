"""Canaries with a wrong label.

Source: Aerni, Zhang, Tramer 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading",
arXiv:2404.17399, mislabelled variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.errors import DataError
from membrane.data.canaries.canary import Canary
from membrane.data.examples import Examples


@dataclass(frozen=True)
class Mislabelled(Canary):
    """An example under a random label that is not its own: to fit it, a model has to learn it by heart."""

    name: ClassVar[str] = "mislabelled"

    def changed(self, pool: Examples, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The inputs as they are, labels moved to another class, each as likely.

        Raises:
            DataError: If there is one class only.
        """
        if len(pool.classes) < 2:
            raise DataError("a wrong label needs a second class; this pool has one.")
        shift = torch.randint(1, len(pool.classes), (len(index),), generator=generator)
        return pool.x[index], (pool.y[index] + shift) % len(pool.classes)
