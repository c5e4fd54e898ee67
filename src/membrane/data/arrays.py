"""Examples from what people already hold: arrays, tensors, any torch ``Dataset``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from membrane.core.errors import DataError
from membrane.data.examples import Examples, class_names, refuse_large
from membrane.data.inputs import Inputs, Npy, refuse_infinite, rows_of


def from_arrays(
    x: npt.ArrayLike | Tensor, y: npt.ArrayLike | Tensor, classes: Sequence[str] | None = None, source: str = "arrays"
) -> Examples:
    """Examples from inputs (N, ...) and labels (N,).

    Args:
        x: uint8 pixels (N, channels, height, width), or numbers (taken as float32) of that shape or (N, D).
        y: Whole numbers from 0.
        classes: Names; "0", "1", ... up to the largest label if not given.
        source: Name for reports.

    Raises:
        DataError: If shapes, types or values do not fit, every mistake at once.
    """
    inputs = _tensor(x, "inputs")
    if inputs.dtype != torch.uint8:
        inputs = inputs.to(torch.float32)
    return _examples(inputs, _tensor(y, "labels"), classes, source)


def from_npy(
    x: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    y: npt.ArrayLike | Tensor,
    classes: Sequence[str] | None = None,
    source: str = "arrays",
) -> Examples:
    """Examples whose inputs stay in .npy files and are read when needed, for data larger than memory.

    Args:
        x: A file, or several whose rows follow each other: uint8 pixels (N, channels, height, width), or float32 of
            that shape or (N, D), as ``numpy.save`` writes them. They must stay as they are while they are in use.
        y: Whole numbers from 0, (N,).
        classes: Names; "0", "1", ... up to the largest label if not given.
        source: Name for reports.

    Raises:
        DataError: If a file is missing, damaged or of another kind, numbers are not finite, or labels do not fit.
    """
    files = [x] if isinstance(x, str | os.PathLike) else x
    inputs = rows_of([Npy.opened(file) for file in files])
    refuse_infinite(inputs, source)
    return _examples(inputs, _tensor(y, "labels"), classes, source)


def _examples(inputs: Inputs, labels: Tensor, classes: Sequence[str] | None, source: str) -> Examples:
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise DataError("labels are not whole numbers; a classifier's labels are class indices from 0.")
    labels = labels.to(torch.int64)
    if not classes:
        refuse_large(labels)
    n_classes = len(classes) if classes else max(int(labels.max()) + 1 if labels.numel() else 1, 1)
    return Examples(inputs, labels, class_names(n_classes, classes), source)


def _tensor(values: npt.ArrayLike | Tensor, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        return torch.from_numpy(np.array(values))  # a copy: arrays may be read-only or change later
    except (TypeError, ValueError, RuntimeError) as problem:
        raise DataError(
            f"{what} are not one array of numbers ({problem}); give equal lengths and numbers only."
        ) from problem


def from_dataset(dataset: Dataset[Any], classes: Sequence[str] | None = None, source: str = "dataset") -> Examples:
    """Examples from a map-style dataset whose items are (input, label), read once, in order.

    Random augmentation inside the dataset would be frozen at one draw: pass it without.

    Raises:
        DataError: If items are not (input, label) pairs, differ in shape, or do not fit.
    """
    try:
        n = len(dataset)  # type: ignore[arg-type]
    except TypeError as problem:
        raise DataError(
            "the dataset has no length; give a map-style dataset (with __len__ and __getitem__)."
        ) from problem
    if not n:
        raise DataError("the dataset is empty.")
    items = [dataset[i] for i in range(n)]
    pairs = [(item[0], item[1]) for item in items if isinstance(item, tuple | list) and len(item) == 2]
    if len(pairs) != n:
        raise DataError(f"{n - len(pairs)} of {n} items are not (input, label); wrap the dataset so that all are.")
    try:
        x, y = default_collate([(_as_array(x), _as_label(y)) for x, y in pairs])
    except (RuntimeError, TypeError, ValueError) as problem:
        raise DataError(
            f"the dataset's items cannot be stacked ({problem}); give inputs of one shape, integer labels."
        ) from problem
    return from_arrays(x, y, classes or getattr(dataset, "classes", None), source)


def _as_label(y: Any) -> int:  # noqa: ANN401 -- whatever a dataset calls a label
    """A whole number, also out of a tensor or array of one; a fraction is no class."""
    if float(y) != int(y):
        raise ValueError(f"label {y!r} is not a whole number")
    return int(y)


def _as_array(x: object) -> Tensor:
    """A tensor as it is; an image object (height, width[, channels]) as channels first."""
    if isinstance(x, Tensor):
        return x
    array = np.asarray(x)
    if array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.dtype == np.uint8:
        array = array.transpose(2, 0, 1)
    elif array.ndim == 2 and array.dtype == np.uint8:
        array = array[None]
    return torch.from_numpy(np.array(array))
