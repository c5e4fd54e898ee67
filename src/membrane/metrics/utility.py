"""What a classifier is still good for: accuracy per example and per class, gap, likelihood, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics.arrays import FloatArray, IntArray, class_indices, finite_floats
from membrane.metrics.intervals import Rate, clopper_pearson


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy on the examples of one class."""

    label: int
    rate: Rate


def accuracy(predicted: ArrayLike, labels: ArrayLike, level: float = 0.95) -> Rate:
    """Share of examples predicted right, with its Clopper-Pearson interval.

    Args:
        predicted: (N,) integers, the class the model says.
        labels: (N,) integers, the true class.
        level: Coverage of the interval.

    Raises:
        DataError: If the arrays do not fit each other or are not class indices.
        SettingError: If ``level`` is not strictly between 0 and 1.
    """
    said, true = _predictions(predicted, labels)
    return clopper_pearson(int(np.count_nonzero(said == true)), true.size, level)


def class_accuracies(predicted: ArrayLike, labels: ArrayLike, level: float = 0.95) -> tuple[ClassAccuracy, ...]:
    """Accuracy on each class that has examples, in the order of the class index.

    Arguments and errors are those of ``accuracy``.
    """
    said, true = _predictions(predicted, labels)
    return tuple(
        ClassAccuracy(int(label), accuracy(said[true == label], true[true == label], level))
        for label in np.unique(true)
    )


def mean_class_accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Balanced accuracy of the classifier: the mean over classes of the accuracy on each, however rare.

    Not ``balanced_accuracy``, which is about membership. Arguments and errors are those of ``accuracy``.
    """
    return float(np.mean([one.rate.value for one in class_accuracies(predicted, labels)]))


def worst_class_accuracy(predicted: ArrayLike, labels: ArrayLike, level: float = 0.95) -> ClassAccuracy:
    """The class predicted worst, and how badly; of equals the one with the lowest index.

    The worst of many looks worse than it is on small classes; its interval is that of a class named beforehand.
    Arguments and errors are those of ``accuracy``.
    """
    return min(class_accuracies(predicted, labels, level), key=lambda one: one.rate.value)


def generalization_gap(train_accuracy: float, test_accuracy: float) -> float:
    """Train accuracy minus test accuracy: how much better the model does on what it has seen; -1 to 1.

    Raises:
        DataError: If one is not a fraction between 0 and 1.
    """
    for name, value in (("train_accuracy", train_accuracy), ("test_accuracy", test_accuracy)):
        if not 0 <= value <= 1:
            raise DataError(f"{name} is {value}; it must be a fraction between 0 and 1.")
    return train_accuracy - test_accuracy


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean loss in nats, 0 or more, from logits, so that sure predictions do not round to infinity.

    Args:
        logits: (N, C).
        labels: (N,) integers, the true class.

    Raises:
        DataError: If the arrays do not fit each other, or logits are not finite.
    """
    log_p, true = _log_probabilities(logits, labels)
    return float(-np.mean(log_p[np.arange(true.size), true]))


def expected_calibration_error(logits: ArrayLike, labels: ArrayLike, n_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equally many examples; 0 is calibrated, at most 1.

    Biased upward: with n examples a calibrated model shows up to about 0.4 sqrt(n_bins / n).

    Source: Nguyen and O'Connor 2015, "Posterior calibration and exploratory analysis for natural language
    processing models", arXiv:1508.05154 (equal-mass bins); Guo et al. 2017, "On Calibration of Modern Neural
    Networks", arXiv:1706.04599 (top-label error). Equal confidences share a bin, so order never matters.

    Args:
        logits: (N, C).
        labels: (N,) integers, the true class.
        n_bins: Bins wanted.

    Raises:
        DataError: If the arrays do not fit each other, or logits are not finite.
        NotEnoughDataError: If there are fewer examples than bins.
        SettingError: If ``n_bins`` is below 1.
    """
    log_p, true = _log_probabilities(logits, labels)
    if not n_bins >= 1:
        raise SettingError(f"n_bins is {n_bins}; it must be 1 or more.")
    if true.size < n_bins:
        raise NotEnoughDataError(f"{n_bins} bins need at least {n_bins} examples; there are {true.size}.")
    confidence = np.exp(log_p.max(axis=1))
    surplus = confidence - (log_p.argmax(axis=1) == true)  # summed over a bin: its size x (confidence - accuracy)
    first_rank = np.searchsorted(np.sort(confidence), confidence)  # the same for equal confidences
    sums = np.bincount(first_rank * n_bins // true.size, weights=surplus, minlength=n_bins)
    return float(np.abs(sums).sum() / true.size)


def _predictions(predicted: ArrayLike, labels: ArrayLike) -> tuple[IntArray, IntArray]:
    said, true = class_indices(predicted, "predicted"), class_indices(labels, "labels")
    if said.size != true.size:
        raise DataError(f"There are {said.size} predictions for {true.size} labels; give one for each.")
    return said, true


def _log_probabilities(logits: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    checked, true = finite_floats(logits, "logits", 2), class_indices(labels, "labels")
    if checked.shape[0] != true.size:
        raise DataError(
            f"There are logits of {checked.shape[0]} examples for {true.size} labels; give one row for each."
        )
    if true.max() >= checked.shape[1]:
        raise DataError(f"labels go up to {true.max()}; logits have {checked.shape[1]} classes, 0 is the first.")
    log_p: FloatArray = log_softmax(checked, axis=1)
    return log_p, true
