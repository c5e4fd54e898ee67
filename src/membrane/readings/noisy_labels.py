"""Labels of noisy copies: in how many of them the model still knows an example.

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321, and the authors' code:
isotropic Gaussian noise, or binary features flipped at random; the share of copies that keep their label stands for
the distance to the boundary, which it grows with in a linear model (Ford et al. 2019, arXiv:1901.10513). Where we
differ: the code takes up to 2500 copies and the amount of noise that is best on a model whose members are known; here
both are settings. All examples get the same noise, so that none depends on the others; tables that are not all zeros
and ones get Gaussian noise in every column (the code: in the continuous ones).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError, raise_all
from membrane.core.generators import spawn_seed, torch_generator
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import as_inputs
from membrane.readings.labels import labels_of
from membrane.readings.reading import Reading, Reveals

_NUMBERS = 1 << 22  # of noisy copies at a time


@dataclass(frozen=True)
class NoisyLabels(Reading):
    """K = 1: share of noisy copies that the model calls by the example's label; 0 if it errs about the example itself.

    Args:
        copies: Noisy copies of each example, 1 or more.
        noise: Standard deviation of what is added to each pixel (of 0 to 1) or feature; for inputs of zeros and ones
            alone, the probability of flipping each. Above 0; at most 1/2 where it is a probability.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "noisy_labels"
    threat_model: ClassVar[Reveals] = "labels"

    copies: int = 100
    noise: float = 0.05

    def __post_init__(self) -> None:
        mistakes = []
        if self.copies < 1:
            mistakes.append(f"copies is {self.copies}; it must be 1 or more.")
        if not 0 < self.noise < math.inf:  # written this way round so that NaN is refused too
            mistakes.append(f"noise is {self.noise}; it must be above 0, and finite.")
        raise_all(mistakes, SettingError)

    @property
    def queries(self) -> int:
        return self.copies + 1

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        if self.noise > 0.5 and _is_binary(pool):
            return [f"noise is {self.noise}; inputs are zeros and ones, flipped with that probability: at most 0.5."]
        return []

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        seed, binary = spawn_seed(generator), _is_binary(examples)
        size = math.prod(examples.x.shape[1:])
        found, start = torch.zeros(len(examples)), 0
        for piece in pieces(examples.x, max(1, _NUMBERS // size)):
            x, y = as_inputs(piece), examples.y[start : start + len(piece)]
            kept = torch.zeros(len(x), dtype=torch.int64)
            drawing = torch_generator(seed, "noise")  # the same for every piece
            for _ in range(self.copies):
                kept += labels_of(model, self._noisy(x, binary, drawing)) == y
            found[start : start + len(x)] = torch.where(labels_of(model, x) == y, kept / self.copies, 0.0)
            start += len(x)
        return found[:, None].numpy()

    def _noisy(self, x: Tensor, binary: bool, generator: torch.Generator) -> Tensor:
        if binary:
            return (x - (torch.rand(x.shape[1:], generator=generator) < self.noise).to(x)).abs()
        return x + self.noise * torch.randn(x.shape[1:], generator=generator)


def _is_binary(examples: Examples) -> bool:
    """Whether these are tables of zeros and ones."""
    return examples.x.ndim == 2 and all(bool(((x == 0) | (x == 1)).all()) for x in pieces(examples.x))
