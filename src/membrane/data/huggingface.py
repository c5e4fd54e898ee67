"""Examples from a data set of Hugging Face's ``datasets``, which this file never imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from membrane.core.errors import DataError
from membrane.data.arrays import from_arrays
from membrane.data.examples import Examples
from membrane.data.images import Colour, Form, decode

_IMAGE_NAMES = ("image", "img", "pixels", "picture", "features")
_LABEL_NAMES = ("label", "labels", "target", "class", "y")


def from_huggingface(
    dataset: Any,  # noqa: ANN401 -- the library is no dependency
    image: str | None = None,
    label: str | None = None,
    *,
    size: int | None = None,
    colour: Colour = "rgb",
    source: str | None = None,
) -> Examples:
    """Examples from one split, read once, in order.

    Args:
        dataset: A ``datasets.Dataset``, such as ``load_dataset("cifar10")["train"]``; not a dictionary of splits, not
            a stream.
        image: Column of images (decoded, or bytes with a path) or of numbers; the only column of type ``Image``, else
            the only one that is usually called so, if not given.
        label: Column of class indices; the only column of type ``ClassLabel``, else the only one that is usually
            called so, if not given. Its names become the classes.
        size: Side in pixels that images are scaled and cropped to; None: they must be of one size already.
        colour: "rgb" for three channels, "grey" for one.
        source: Name for reports; the data set's own if not given.

    Raises:
        DataError: If columns are not there or cannot be told apart, labels are no class indices, or listing the images
            that cannot be used.
    """
    names = _column_names(dataset)
    features = getattr(dataset, "features", None) or {}
    inputs = image or _guess(names, features, "Image", _IMAGE_NAMES, "image")
    target = label or _guess(names, features, "ClassLabel", _LABEL_NAMES, "label")
    if absent := [name for name in (inputs, target) if name not in names]:
        raise DataError(f"the dataset has no column {absent}; it has {names}. Name them with image= and label=.")
    y = _labels([row[target] for row in _plain(dataset, features, target)], target)
    x = _inputs([row[inputs] for row in _plain(dataset, features, inputs)], Form(size, colour))
    classes = getattr(features.get(target), "names", None)
    title = source or str(getattr(getattr(dataset, "info", None), "dataset_name", None) or "huggingface")
    return from_arrays(x, y, classes, title)


def _column_names(dataset: Any) -> list[str]:  # noqa: ANN401
    names = getattr(dataset, "column_names", None)
    if isinstance(names, Mapping):
        raise DataError(f"this is a dictionary of splits {sorted(names)}; pass one of them, such as dataset['train'].")
    if not names or isinstance(names, str):
        raise DataError(f"{type(dataset).__name__} has no column_names; pass a datasets.Dataset, or use from_dataset.")
    if not hasattr(dataset, "__len__"):
        raise DataError("the dataset is a stream; load it with streaming=False, or take a part of it first.")
    if not len(dataset):
        raise DataError("the dataset is empty.")
    return list(names)


def _guess(names: Sequence[str], features: Mapping[str, Any], kind: str, usual: Sequence[str], what: str) -> str:
    """The one column of that type, or the one with a usual name."""
    typed = [name for name in names if type(features.get(name)).__name__ == kind]
    found = typed or [name for name in names if name.lower() in usual]
    if len(found) != 1:
        there = f"several could be it: {found}" if found else f"none of {list(names)} looks like it"
        raise DataError(f"which column is the {what}? {there}. Name it with {what}=.")
    return found[0]


def _plain(dataset: Any, features: Mapping[str, Any], column: str) -> Any:  # noqa: ANN401
    """That column alone, without format or transform, images as the bytes that they are stored in."""
    for step, argument in (("select_columns", [column]), ("with_format", None)):
        dataset = getattr(dataset, step)(argument) if hasattr(dataset, step) else dataset
    kind = features.get(column)
    if kind is not None and getattr(kind, "decode", False) and hasattr(dataset, "cast_column"):
        dataset = dataset.cast_column(column, type(kind)(decode=False))
    return dataset


def _labels(values: Sequence[Any], column: str) -> Tensor:
    wrong = [row for row, value in enumerate(values) if isinstance(value, bool) or not isinstance(value, int)]
    if wrong:
        raise DataError(
            f"{len(wrong)} labels in {column!r} are not whole numbers, the first is {values[wrong[0]]!r} in row "
            f"{wrong[0]}. Make them class indices: dataset.class_encode_column({column!r})."
        )
    unknown = [row for row, value in enumerate(values) if value < 0]
    if unknown:
        raise DataError(
            f"{len(unknown)} labels in {column!r} are negative, the first in row {unknown[0]}; this is how Hugging "
            "Face marks rows without a label. Pass a split with labels."
        )
    return torch.tensor(values)


def _inputs(values: Sequence[Any], form: Form) -> npt.ArrayLike:
    """Pixels of images; or numbers, as they are."""
    if not any(isinstance(value, Mapping | bytes) or hasattr(value, "convert") for value in values):
        return values
    return decode(((f"row {row}", _content(value)) for row, value in enumerate(values)), len(values), form)


def _content(value: Any) -> Any:  # noqa: ANN401 -- whatever the column holds
    """The library stores bytes, or the path of a file, or both."""
    if not isinstance(value, Mapping):
        return value
    path = value.get("path")
    return value.get("bytes") or (Path(path) if path else None)
