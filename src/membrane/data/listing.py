"""What a source holds, with inputs that are made a few at a time: all of them may be more than memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from membrane.data.examples import Examples, joined
from membrane.data.images import Form, decode
from membrane.data.inputs import pieces


@dataclass(frozen=True)
class Listing:
    """All examples of a source, in its order, and which of them are in which split.

    Args:
        blocks: Called with a position and a number of rows: inputs (rows, ...) from there on, the last ones fewer.
        y: (N,) int64 labels.
        classes: C names.
        title: What the data are called in reports.
        train: Positions of the train split.
        test: Positions of the test split.
    """

    blocks: Callable[[int, int], Iterator[Tensor]]
    y: Tensor
    classes: tuple[str, ...]
    title: str
    train: Tensor | slice
    test: Tensor | slice

    def in_memory(self) -> tuple[Examples, Examples]:
        """Both splits, all inputs in memory.

        Raises:
            DataError: If inputs cannot be made, or do not fit.
        """
        whole = Examples(next(self.blocks(0, len(self.y))), self.y, self.classes, self.title)
        return whole[self.train], whole[self.test]


def listed(train: Examples, test: Examples) -> Listing:
    """The listing of two splits that are there already."""
    whole, n = joined(train, test), len(train)
    return Listing(
        lambda start, rows: pieces(whole[start:].x, rows),
        whole.y,
        whole.classes,
        whole.source,
        slice(n),
        slice(n, None),
    )


def decoded(
    named: Callable[[], Iterable[tuple[str, Any]]], n: int, form: Form
) -> Callable[[int, int], Iterator[Tensor]]:
    """The ``blocks`` of ``n`` encoded images, each decoded when its block is.

    Args:
        named: Gives all of them, from the first on each time it is called, as ``decode`` takes them.
        n: Their number.
        form: What they become.
    """

    def blocks(start: int, rows: int) -> Iterator[Tensor]:
        coming = islice(named(), start, None)
        for first in range(start, n, rows):
            yield torch.from_numpy(decode(islice(coming, rows), min(rows, n - first), form))

    return blocks
