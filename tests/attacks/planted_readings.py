"""Readings as models with a planted leak would give them: made from their losses, one function for each reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from membrane.core.values import Floats, Ints
from membrane.readings import (
    AugmentedLabels,
    Boundary,
    Expectation,
    Gradients,
    NoisyLabels,
    Posteriors,
    RegionOutputs,
    Revealed,
    TaylorSoftmax,
    Trajectory,
)

Array = npt.NDArray[np.float64]


def gradients(loss: Array, labels: Ints) -> Array:
    """A network of three regions: the gradient by the logits is 1 - p long, and each region stretches it in its way."""
    length = -np.expm1(-loss)[..., None]
    return length * (np.array([0.3, 0.5, 0.4, 0.2]) + length * np.array([0.0, 0.1, 0.5, 0.9]))


def log_posteriors(loss: Array, labels: Ints) -> Array:
    """Of 10 classes: what the label leaves is shared equally among the others."""
    is_label = np.arange(10) == labels[:, None]
    others = np.log(np.maximum(-np.expm1(-loss), 1e-45) / 9)
    return np.where(is_label, -loss[..., None], others[..., None])


def three_largest(loss: Array, labels: Ints) -> Array:
    """The same, falling."""
    return -np.sort(-log_posteriors(loss, labels), axis=-1)[..., :3]


def region_outputs(loss: Array, labels: Ints) -> Array:
    """The same regions: deeper read-outs are surer, and outputs are the larger the surer they are."""
    with np.errstate(divide="ignore"):
        logit = np.maximum(-loss - np.log(-np.expm1(-loss)), -1e4)
    readouts = logit[..., None] * np.array([0.3, 0.6, 0.9])
    return np.concatenate([readouts, np.arcsinh(readouts * 3)], axis=-1)


def augmented_labels(loss: Array, labels: Ints) -> Array:
    """A model still knows an image after the harder of five changes if it is surer of it."""
    return (loss[..., None] < np.array([0.02, 0.1, 0.3, 0.5, 0.7])).astype(np.float64)


def transformed_losses(loss: Array, labels: Ints) -> Array:
    """Three queries, each a little surer or less sure than the other."""
    return loss[..., None] * np.array([0.8, 1.0, 1.3])


def robustness(loss: Array, labels: Ints) -> Array:
    """Distance to the boundary, or the share of noisy copies that keep their label; 0 for what it errs about."""
    return np.exp(-loss)[..., None] * (loss < 0.7)[..., None]


def revealed(loss: Array, labels: Ints) -> Array:
    """Two copies, one of which was trained on for longer: six signals of two classes under each."""
    with np.errstate(divide="ignore"):
        logit = np.maximum(-loss - np.log(-np.expm1(-loss)), -1e4)
    logits = np.stack([logit, logit * 0.8 + 0.1], axis=-1)
    wrong, right = np.logaddexp(0, logits), np.logaddexp(0, -logits)
    p = np.exp(-right)
    entropy = p * right + (1 - p) * wrong
    kinds = [right, logits, logits, entropy, 2 * (1 - p) * right, (logits > 0).astype(float)]
    return np.stack(kinds, axis=-2).reshape(*loss.shape, 12)


def expectation(loss: Array, labels: Ints) -> Array:
    """Some classes are easier than others, and some spread more; who trained on what makes no difference."""
    of_label = np.stack([0.1 * labels, 1 + 0.02 * labels], axis=-1)
    return np.broadcast_to(of_label, (*loss.shape, 2)).copy()


def trajectory(loss: Array, labels: Ints) -> Array:
    """Two students on their way to the model."""
    return np.stack([np.log1p(loss), np.sqrt(loss), loss], axis=-1)


PLANTED: Mapping[str, Callable[[Array, Ints], Array]] = {
    Gradients().key: gradients,
    RegionOutputs().key: region_outputs,
    Revealed().key: revealed,
    Posteriors().key: log_posteriors,
    Posteriors(3).key: three_largest,
    Expectation().key: expectation,
    Trajectory(epochs=2).key: trajectory,
    AugmentedLabels().key: augmented_labels,
    NoisyLabels().key: robustness,
    Boundary().key: robustness,
    TaylorSoftmax().key: transformed_losses,
}


def planted_readings(loss: Floats, labels: Ints) -> dict[str, Array]:
    """Every reading by key, (..., N, K), from losses (..., N, Q) and labels (N,)."""
    mean = loss.astype(np.float64).mean(axis=-1)
    return {key: read(mean, labels) for key, read in PLANTED.items()}
