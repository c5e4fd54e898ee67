"""Examples: the one form in which data enters training, locating and auditing, in memory or on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from membrane.core.errors import DataError, raise_all
from membrane.data.inputs import Inputs, concatenated, pieces, selected

MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Examples:
    """Inputs with labels. Selecting keeps the inputs' type; nothing is copied before it must be.

    Args:
        x: (N, ...), uint8 pixels (N, channels, height, width) or float32 features (N, D): a tensor, or ``Rows`` of
            files, whose numbers are known to be finite.
        y: (N,) int64 class indices, 0 to C - 1.
        classes: C names.
        source: Where they come from, for reports.
    """

    x: Inputs
    y: Tensor
    classes: tuple[str, ...]
    source: str = field(default="arrays", compare=False)

    def __post_init__(self) -> None:
        raise_all(_mistakes(self.x, self.y, len(self.classes)), DataError)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, chosen: Tensor | np.ndarray[tuple[int], np.dtype[np.int64]] | slice) -> Examples:
        """The chosen examples (indices or a slice), in that order."""
        index = torch.as_tensor(chosen) if isinstance(chosen, np.ndarray) else chosen
        return Examples(selected(self.x, index), self.y[index], self.classes, self.source)

    def relabelled(self, y: Tensor) -> Examples:
        """The same inputs under other labels."""
        return Examples(self.x, y, self.classes, self.source)

    def checksum(self) -> str:
        """First 16 hex digits of the SHA-256 of inputs, labels, shapes and class names."""
        digest = hashlib.sha256(repr((self.x.dtype, tuple(self.x.shape), self.classes)).encode())
        for piece in pieces(self.x):
            digest.update(piece.contiguous().numpy().tobytes())
        digest.update(self.y.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _mistakes(x: Inputs, y: Tensor, n_classes: int) -> list[str]:
    found = []
    if x.ndim not in (2, 4):
        found.append(f"inputs have shape {tuple(x.shape)}; images are (N, channels, height, width), features (N, D).")
    if x.dtype not in (torch.uint8, torch.float32):
        found.append(f"inputs are {x.dtype}; give uint8 pixels or float32 features.")
    indices = y.ndim == 1 and y.dtype == torch.int64
    if not indices:
        found.append(f"labels are {y.dtype} of shape {tuple(y.shape)}; give int64 class indices of shape (N,).")
    elif x.shape[:1] != y.shape:
        found.append(f"there are {len(x) if x.ndim else 0} inputs and {len(y)} labels; each input needs one label.")
    if not y.numel():
        found.append("there are no examples; a split must not be empty.")
    elif 0 in x.shape:
        found.append(f"inputs of shape {tuple(x.shape)} hold no numbers.")
    elif indices and (int(y.min()) < 0 or int(y.max()) >= n_classes):
        found.append(
            f"labels run from {int(y.min())} to {int(y.max())}; with {n_classes} classes they must lie in "
            f"0 to {n_classes - 1}."
        )
    if isinstance(x, Tensor) and x.is_floating_point() and x.ndim and x.numel():
        bad = (~torch.isfinite(x)).reshape(len(x), -1).any(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            found.append(
                f"{int(bad.sum())} inputs hold NaN or infinity, the first is number {first}. Remove or fill them."
            )
    return found


def joined(first: Examples, second: Examples) -> Examples:
    """The examples of both, in that order, under the class names and source of the first."""
    return Examples(concatenated([first.x, second.x]), torch.cat([first.y, second.y]), first.classes, first.source)


def refuse_large(y: Tensor) -> None:
    """Refuse labels that are so large that they cannot be class indices, before something is made for each class.

    Raises:
        DataError: If the largest is a million or more.
    """
    if y.numel() and int(y.max()) >= MOST_CLASSES:
        raise DataError(
            f"the largest label is {int(y.max()):,}; class indices run from 0, so these look like other numbers."
        )


def class_names(n_classes: int, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The given names, or "0", "1", ... if there are none."""
    return tuple(names) if names else tuple(str(i) for i in range(n_classes))
