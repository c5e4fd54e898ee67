"""Readings as models with a planted leak would give them: made from their losses, one function for each reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from membrane.core.values import Floats, Ints
from membrane.readings import Gradients

Array = npt.NDArray[np.float64]


def gradients(loss: Array, labels: Ints) -> Array:
    """A network of three regions: the gradient by the logits is 1 - p long, and each region stretches it."""
    return -np.expm1(-loss)[..., None] * np.array([0.3, 0.5, 0.4, 0.2])


PLANTED: Mapping[str, Callable[[Array, Ints], Array]] = {Gradients().key: gradients}


def planted_readings(loss: Floats, labels: Ints) -> dict[str, Array]:
    """Every reading by key, (..., N, K), from losses (..., N, Q) and labels (N,)."""
    mean = loss.astype(np.float64).mean(axis=-1)
    return {key: read(mean, labels) for key, read in PLANTED.items()}
