"""Canaries that are almost copies of another example.

Source: Aerni, Zhang, Tramer 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading",
arXiv:2404.17399: a defense that gives every example to a part of its models only (SELENA) still teaches it to the
others through its near duplicate. There the two are mislabelled as well; here they keep their label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.errors import DataError, SettingError, raise_all
from membrane.data.canaries.canary import Canary
from membrane.data.examples import Examples


@dataclass(frozen=True)
class NearDuplicate(Canary):
    """A copy of another example of the pool with the same label, slightly changed.

    The original is an ordinary example; whose training set it is in is drawn independently of its copy's.

    Args:
        noise: Of images: standard deviation of Gaussian noise, grey levels of 0 to 255.
        shift: Of images: they move by up to so many pixels up or down and left or right; the edge is repeated.
        replaced: Of features: share of values, one at least, that are taken from another example of the pool, where
            the two differ.
    """

    name: ClassVar[str] = "near_duplicate"

    noise: float = 2.0
    shift: int = 1
    replaced: float = 0.02

    def __post_init__(self) -> None:
        found = [f"noise is {self.noise}; it must be 0 or more."] if self.noise < 0 else []
        found += [f"shift is {self.shift}; it must be 0 or more."] if self.shift < 0 else []
        found += (
            [f"noise and shift are {self.noise} and 0; give one of them, or it is a copy."]
            if not (self.noise or self.shift)
            else []
        )
        found += [f"replaced is {self.replaced}; it must lie in 0 to 1."] if not 0 <= self.replaced <= 1 else []
        raise_all((f"{self.name}: {mistake}" for mistake in found), SettingError)

    def changed(self, pool: Examples, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changed copies of others, labels as they are.

        Raises:
            DataError: If a class has no example left that is no canary.
        """
        at = _originals(pool.y, index, generator)
        if pool.x.ndim == 4:
            return self._image(pool.x[at], generator), pool.y[index]
        other = (at + torch.randint(1, len(pool), at.shape, generator=generator)) % len(pool)
        return self._features(pool.x[at], pool.x[other], generator), pool.y[index]

    def _image(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[2:]
        moves = torch.randint(-self.shift, self.shift + 1, (2, len(x), 1), generator=generator)
        rows = (torch.arange(height) + moves[0]).clamp(0, height - 1)  # (K, height)
        columns = (torch.arange(width) + moves[1]).clamp(0, width - 1)
        which, channel = torch.arange(len(x)).view(-1, 1, 1, 1), torch.arange(x.shape[1]).view(1, -1, 1, 1)
        moved = x[which, channel, rows[:, None, :, None], columns[:, None, None, :]]
        noise = self.noise * torch.randn(x.shape, generator=generator)
        if x.dtype == torch.uint8:
            return (moved + noise).round().clamp(0, 255).to(torch.uint8)
        return moved + noise / 255

    def _features(self, x: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
        chance = torch.rand(x.shape, generator=generator).masked_fill(x == other, 2)
        n = max(round(self.replaced * x.shape[1]), 1)
        last = chance.kthvalue(n, dim=1, keepdim=True).values.clamp(max=1)
        return torch.where(chance <= last, other, x)


def _originals(y: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    """For each canary a random example of its class that is no canary."""
    order = torch.randperm(len(y), generator=generator)
    ordinary = order[~torch.isin(order, index)]
    originals = torch.empty_like(index)
    for label in sorted(set(y[index].tolist())):
        of_class = ordinary[y[ordinary] == label]
        if not len(of_class):
            raise DataError(f"every example of class {label} would be a canary; plant fewer near duplicates.")
        mine = (y[index] == label).nonzero().flatten()
        originals[mine] = of_class[torch.arange(len(mine)) % len(of_class)]
    return originals
