"""Any source without its copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from membrane.core.errors import DataError
from membrane.data.duplicates import find_duplicates
from membrane.data.source import Source, Splits


@dataclass(frozen=True)
class Unique(Source):
    """Another source whose train split loses what occurs twice in it or also in the test split.

    Of copies in the train split the first stays, whatever their labels; the test split stays as it is.

    Args:
        of: The other source.
        near: Correlation from which images count as copies, 0.95 say; None for identical inputs alone.
    """

    name: ClassVar[str] = "unique"

    of: Source
    near: float | None = None

    def load(self) -> Splits:
        """The other source's splits.

        Raises:
            DataError: As the other source does, or if nothing is left of the train split.
            SettingError: If ``near`` is out of range, or asked for with inputs that are no images.
        """
        train, test = self.of.load()
        keep = torch.ones(len(train), dtype=torch.bool)
        for found in find_duplicates({"test": test, "train": train}, ["train"], self.near):
            keep[torch.from_numpy(found.pairs[:, 1])] = False
        if not keep.any():
            raise DataError("every training example is also in the test split; nothing is left to train on.")
        return Splits(train[keep.nonzero().flatten()], test)

    def missing(self) -> list[str]:
        """What the other source misses."""
        return self.of.missing()
