"""Canaries from another distribution.

Source: Aerni, Zhang, Tramer 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading",
arXiv:2404.17399, out-of-distribution variant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.errors import DataError
from membrane.data.canaries.canary import Canary
from membrane.data.examples import Examples
from membrane.data.inputs import Inputs, pieces


@dataclass(frozen=True)
class OutOfDistribution(Canary):
    """An input of another kind than the pool's, noise or from other data, under a random label.

    Noise is uniform: pixels from 0 to 255; features between the lowest and the highest value of their column, in
    whole numbers where the column has no others.

    Args:
        inputs: Other data to take inputs from, of the pool's shape and type; noise if None.
    """

    name: ClassVar[str] = "out_of_distribution"

    inputs: Examples | None = field(default=None, compare=False)

    def changed(self, pool: Examples, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Foreign inputs, every label as likely.

        Raises:
            DataError: If the other data are too few or of another shape or type.
        """
        k = len(index)
        x = _noise(pool.x, k, generator) if self.inputs is None else _drawn(self.inputs.x, pool.x, k, generator)
        return x, torch.randint(len(pool.classes), (k,), generator=generator)


def _noise(x: Inputs, k: int, generator: torch.Generator) -> Tensor:
    if x.dtype == torch.uint8 and x.ndim == 4:
        return torch.randint(256, (k, *x.shape[1:]), generator=generator).to(torch.uint8)
    low = torch.stack([piece.amin(0) for piece in pieces(x)]).amin(0).double()
    high = torch.stack([piece.amax(0) for piece in pieces(x)]).amax(0).double()
    whole = torch.stack([(piece == piece.round()).all(0) for piece in pieces(x)]).all(0)
    share = torch.rand(k, *low.shape, generator=generator, dtype=torch.float64)
    anywhere = low + share * (high - low)
    return torch.where(whole, (low + share * (high - low + 1)).floor(), anywhere).to(x.dtype)


def _drawn(x: Inputs, pool: Inputs, k: int, generator: torch.Generator) -> Tensor:
    if x.shape[1:] != pool.shape[1:] or x.dtype != pool.dtype:
        raise DataError(
            f"the other data's inputs are {x.dtype} {tuple(x.shape[1:])}, the pool's {pool.dtype} "
            f"{tuple(pool.shape[1:])}; bring them to one form."
        )
    if len(x) < k:
        raise DataError(f"there are {len(x)} other inputs for {k} canaries; give more, or plant fewer.")
    return x[torch.randperm(len(x), generator=generator)[:k]]
