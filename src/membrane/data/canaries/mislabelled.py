"""Canaries: examples planted to be as easy to betray as possible, so that the audit shows the worst case.

Source: Aerni, Zhang, Tramer 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading",
arXiv:2404.17399, mislabelled variant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from membrane.core.errors import DataError
from membrane.core.values import Ints
from membrane.data.examples import Examples


@dataclass(frozen=True)
class Planted:
    """A pool in which some examples carry a wrong label.

    Args:
        examples: The pool with the wrong labels in place.
        index: (K,) int64 positions of the canaries, ascending.
    """

    examples: Examples
    index: Ints


def mislabelled(pool: Examples, n_canaries: int, generator: torch.Generator) -> Planted:
    """Give ``n_canaries`` random examples a random label that is not theirs.

    Plant the fewest that resolve the false-positive rate you want: each is label noise.

    Raises:
        DataError: If there are fewer examples than canaries, or fewer than two classes.
    """
    if not 0 <= n_canaries <= len(pool):
        raise DataError(f"{n_canaries} canaries do not fit into a pool of {len(pool)} examples.")
    if n_canaries and len(pool.classes) < 2:
        raise DataError("a wrong label needs a second class; this pool has one.")
    index = torch.randperm(len(pool), generator=generator)[:n_canaries].sort().values
    shift = torch.randint(1, max(len(pool.classes), 2), (n_canaries,), generator=generator)
    y = pool.y.clone()
    y[index] = (y[index] + shift) % len(pool.classes)
    return Planted(pool.relabelled(y), index.numpy())
