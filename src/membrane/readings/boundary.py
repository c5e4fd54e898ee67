"""Distance to the boundary: how much an input must change before the model calls it something else.

Source: Choquette-Choo et al. 2021, arXiv:2007.14321, and Li and Zhang 2021, arXiv:2007.15528, who measure it with
HopSkipJump (Chen et al. 2020, arXiv:1904.02144). Examples that the model errs about are at distance 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import as_inputs
from membrane.readings.hop_skip_jump import FEWEST, boundary_distances
from membrane.readings.labels import labels_of
from membrane.readings.reading import Reading, Reveals

_NUMBERS = 1 << 16  # of inputs whose boundaries are looked for together; fifty times as many of their neighbours


@dataclass(frozen=True)
class Boundary(Reading):
    """K = 1: Euclidean distance to another label, in units of the inputs (pixels run from 0 to 1), 0 if it errs.

    An upper bound, the nearer to the truth the more queries. Where no starting point has another label, the length of
    the box's diagonal for images, and the largest float32 for features.

    Args:
        budget: Queries for each example, 100 or more.

    Raises:
        SettingError: If ``budget`` is less.
    """

    name: ClassVar[str] = "boundary"
    threat_model: ClassVar[Reveals] = "labels"

    budget: int = 1000

    def __post_init__(self) -> None:
        if self.budget < FEWEST:
            raise SettingError(f"budget is {self.budget}; it must be {FEWEST} queries or more.")

    @property
    def queries(self) -> int:
        return self.budget

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        seed, shape = spawn_seed(generator), examples.x.shape[1:]
        box, farthest = ((0.0, 1.0), math.sqrt(math.prod(shape))) if len(shape) == 3 else (None, _LARGEST)
        found, start = torch.zeros(len(examples)), 0
        for piece in pieces(examples.x, max(1, _NUMBERS // math.prod(shape))):
            x, y = as_inputs(piece), examples.y[start : start + len(piece)]
            right = torch.nonzero(labels_of(model, x) == y)[:, 0]
            wanted = y[right]

            def decide(points: Tensor, of: Tensor, wanted: Tensor = wanted) -> Tensor:
                return labels_of(model, points.view(-1, *shape)) != wanted[of]

            if len(right):
                distances = boundary_distances(x[right].flatten(1), decide, self.budget - 1, seed, box)
                found[start + right] = distances.clamp_max(farthest)
            start += len(x)
        return found[:, None].numpy()


_LARGEST = float(np.finfo(np.float32).max)
