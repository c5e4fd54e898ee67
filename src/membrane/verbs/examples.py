"""Whatever a user holds, as ``Examples``: the one place where verbs convert what is handed to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from membrane.core.errors import DataError, ModelError
from membrane.data import Examples, from_arrays, from_dataset
from membrane.data.examples import class_names
from membrane.data.loader import as_inputs
from membrane.models.signals import device_of, evaluating, forward

ExamplesLike = Examples | Dataset[Any] | tuple[Tensor | np.ndarray[Any, Any], Tensor | np.ndarray[Any, Any]]


def as_examples(data: ExamplesLike, classes: Sequence[str] | None = None, what: str = "data") -> Examples:
    """Examples from examples, a map-style dataset of (input, label), or a pair of arrays.

    Args:
        data: What the user holds.
        classes: Names of the classes; by default those that ``data`` knows, or its labels.
        what: How to call it in an error.

    Raises:
        DataError: If it is none of these or does not fit.
    """
    if isinstance(data, Examples):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return from_arrays(*data, classes, source=what)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return from_dataset(data, classes, source=what)
    raise DataError(
        f"{what} is a {type(data).__name__}; give a map-style torch Dataset of (input, label), a pair of "
        "arrays, or membrane.data.Examples. Of a DataLoader, pass its .dataset."
    )


def as_classified(model: nn.Module, data: ExamplesLike, what: str) -> Examples:
    """Examples with as many classes as the model has outputs, so that splits that lack a class still agree.

    Raises:
        DataError: If the data do not fit.
        ModelError: If the model does not return logits (B, C).
    """
    examples = as_examples(data, what=what)
    with evaluating(model), torch.inference_mode():
        logits = forward(model, as_inputs(examples.x[:2]).to(device_of(model)))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"the model returned {got}; it must return logits (inputs, classes). Wrap it if it returns more."
        )
    n_classes = logits.shape[1]
    if n_classes == len(examples.classes):
        return examples
    return Examples(examples.x, examples.y, class_names(n_classes), examples.source)
