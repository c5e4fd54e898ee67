"""Readings as models with a planted leak would give them: made from their losses, one function for each reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from membrane.core.values import Floats, Ints
from membrane.readings import Gradients, RegionOutputs

Array = npt.NDArray[np.float64]


def gradients(loss: Array, labels: Ints) -> Array:
    """A network of three regions: the gradient by the logits is 1 - p long, and each region stretches it its own way."""
    length = -np.expm1(-loss)[..., None]
    return length * (np.array([0.3, 0.5, 0.4, 0.2]) + length * np.array([0.0, 0.1, 0.5, 0.9]))


def region_outputs(loss: Array, labels: Ints) -> Array:
    """The same regions: deeper read-outs are surer, and outputs are the larger the surer they are."""
    with np.errstate(divide="ignore"):
        logit = np.maximum(-loss - np.log(-np.expm1(-loss)), -1e4)
    readouts = logit[..., None] * np.array([0.3, 0.6, 0.9])
    return np.concatenate([readouts, np.arcsinh(readouts * 3)], axis=-1)


PLANTED: Mapping[str, Callable[[Array, Ints], Array]] = {
    Gradients().key: gradients,
    RegionOutputs().key: region_outputs,
}


def planted_readings(loss: Floats, labels: Ints) -> dict[str, Array]:
    """Every reading by key, (..., N, K), from losses (..., N, Q) and labels (N,)."""
    mean = loss.astype(np.float64).mean(axis=-1)
    return {key: read(mean, labels) for key, read in PLANTED.items()}
