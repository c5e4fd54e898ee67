from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, log_loss

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import (
    accuracy,
    class_accuracies,
    clopper_pearson,
    expected_calibration_error,
    generalization_gap,
    mean_class_accuracy,
    negative_log_likelihood,
    worst_class_accuracy,
)


def predictions(n: int = 400) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    labels = generator.choice(4, size=n, p=[0.6, 0.2, 0.15, 0.05])
    return generator.normal(size=(n, 4)) * 2 + 2 * np.eye(4)[labels], labels


def binary(confidence: list[float]) -> NDArray[np.float64]:
    """Logits that say class 1 with the given probability."""
    p = np.array(confidence)
    return np.stack([np.log1p(-p), np.log(p)], axis=1)


def test_accuracies_by_hand() -> None:
    predicted, labels = [0, 0, 1, 1, 1, 3], [0, 0, 0, 1, 1, 1]
    assert accuracy(predicted, labels) == clopper_pearson(4, 6)
    assert accuracy(predicted, labels, 0.5) == clopper_pearson(4, 6, 0.5)
    assert mean_class_accuracy([0, 0, 0, 0], [0, 0, 0, 2]) == 0.5
    worst = worst_class_accuracy([0, 0, 0, 1], [0, 0, 2, 1])
    assert (worst.label, worst.rate) == (2, clopper_pearson(0, 1))
    assert [one.label for one in class_accuracies(predicted, labels)] == [0, 1]


def test_mean_class_accuracy_equals_sklearn() -> None:
    logits, labels = predictions()
    expected = balanced_accuracy_score(labels, logits.argmax(1))
    assert mean_class_accuracy(logits.argmax(1), labels) == pytest.approx(expected)
    assert expected != pytest.approx(accuracy(logits.argmax(1), labels).value, abs=1e-3)


def test_gap_is_positive_when_training_data_are_known_better() -> None:
    assert generalization_gap(1.0, 0.75) == 0.25
    with pytest.raises(DataError, match="test_accuracy is 75"):
        generalization_gap(1.0, 75.0)


def test_likelihood_equals_sklearn_and_survives_sure_predictions() -> None:
    logits, labels = predictions()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert negative_log_likelihood(logits, labels) == pytest.approx(log_loss(labels, probabilities), rel=1e-9)
    assert negative_log_likelihood([[1000.0, 0.0]], [1]) == 1000.0
    assert negative_log_likelihood([[0.0] * 5], [3]) == pytest.approx(math.log(5))


def test_calibration_by_hand() -> None:
    logits = binary([0.9, 0.9, 0.6, 0.6])
    # Bins {0.6, 0.6} with accuracy 1/2 and {0.9, 0.9} with accuracy 1: off by 0.1 each.
    assert expected_calibration_error(logits, [1, 1, 1, 0], n_bins=2) == pytest.approx(0.1)
    # In one bin, under- and overconfidence cancel: mean confidence 0.75, accuracy 0.75.
    assert expected_calibration_error(logits, [1, 1, 1, 0], n_bins=1) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(binary([0.9, 0.9]), [0, 0], n_bins=1) == pytest.approx(0.9)


def test_calibration_bins_hold_equal_mass() -> None:
    logits, labels = predictions(90)
    p = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    confidence, right = p.max(1), p.argmax(1) == labels
    bins = np.argsort(confidence).reshape(9, 10)
    slow = np.mean([abs(confidence[b].mean() - right[b].mean()) for b in bins])
    assert expected_calibration_error(logits, labels, n_bins=9) == pytest.approx(slow)


def test_calibration_does_not_depend_on_the_order_of_equal_confidences() -> None:
    logits, labels = binary([0.8] * 20), np.repeat([0, 1], 10)
    errors = [
        expected_calibration_error(logits, order, n_bins=4) for order in (labels, labels[::-1], np.roll(labels, 5))
    ]
    assert errors == pytest.approx([0.3] * 3)


def test_bad_input_is_refused() -> None:
    logits, labels = predictions(20)
    with pytest.raises(DataError, match="3 predictions for 2 labels"):
        accuracy([0, 1, 2], [0, 1])
    with pytest.raises(DataError, match="must be integers"):
        accuracy([0.5, 1.0], [0, 1])
    with pytest.raises(DataError, match="go down to -1"):
        accuracy([0, 1], [0, -1])
    with pytest.raises(DataError, match="empty"):
        accuracy(np.array([], int), np.array([], int))
    with pytest.raises(DataError, match="logits have 4 classes"):
        negative_log_likelihood(logits, labels + 4)
    with pytest.raises(DataError, match="20 examples for 19 labels"):
        expected_calibration_error(logits, labels[1:])
    with pytest.raises(DataError, match="NaN or infinite"):
        negative_log_likelihood(np.full((1, 2), np.nan), [0])
    assert 0 <= expected_calibration_error(logits, labels, n_bins=20) <= 1
    with pytest.raises(NotEnoughDataError, match="at least 21 examples; there are 20"):
        expected_calibration_error(logits, labels, n_bins=21)
    with pytest.raises(SettingError, match="n_bins is 0"):
        expected_calibration_error(logits, labels, n_bins=0)
