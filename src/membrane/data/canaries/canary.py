"""Canaries: examples planted to be as easy to betray as possible, so that the audit shows the worst case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from membrane.core.errors import DataError
from membrane.core.values import Ints
from membrane.data.examples import Examples
from membrane.data.inputs import replaced


@dataclass(frozen=True)
class Planted:
    """A pool with canaries in it.

    Args:
        examples: The pool, canaries in place of what was there.
        index: (K,) int64 positions of the canaries, ascending.
    """

    examples: Examples
    index: Ints


@dataclass(frozen=True)
class Canary:
    """Base class of the kinds of canaries; a kind overrides ``changed``."""

    name: ClassVar[str]

    def plant(self, pool: Examples, n_canaries: int, generator: torch.Generator) -> Planted:
        """Make canaries of ``n_canaries`` random examples of the pool; the others stay as they are.

        Plant the fewest that resolve the false-positive rate you want: they take the place of examples.

        Raises:
            DataError: If there are fewer examples than canaries, or the pool does not fit the kind.
        """
        if not 0 <= n_canaries <= len(pool):
            raise DataError(f"{n_canaries} canaries do not fit into a pool of {len(pool)} examples.")
        index = torch.randperm(len(pool), generator=generator)[:n_canaries].sort().values
        if not n_canaries:
            return Planted(pool, index.numpy())
        x, y = self.changed(pool, index, generator)
        planted = Examples(replaced(pool.x, index, x), pool.y.index_copy(0, index, y), pool.classes, pool.source)
        return Planted(planted, index.numpy())

    def changed(self, pool: Examples, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (K, ...) and labels (K,) of the canaries at ``index``.

        Raises:
            DataError: If the pool does not fit the kind.
        """
        raise NotImplementedError
