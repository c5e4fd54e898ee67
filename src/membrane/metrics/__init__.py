"""Metrics: arrays in, values out. Exact ROC, intervals, utility, slices, accuracy-against-leakage curves."""

from __future__ import annotations

from membrane.metrics.bootstrap import (
    MIN_CLUSTERS,
    Resamples,
    auc_replicates,
    mean_replicates,
    percentile_interval,
    resample,
    roc_replicates,
    tpr_replicates,
)
from membrane.metrics.curves import (
    CurvePoint,
    accuracy_at,
    leakage_at,
    matched_accuracy_difference,
    matched_difference,
)
from membrane.metrics.intervals import Interval, Rate, clopper_pearson
from membrane.metrics.roc import Roc, auc, balanced_accuracy, roc, tpr_at_fpr
from membrane.metrics.slices import Slice, SliceSize, check_slices, class_slices, slice_sizes
from membrane.metrics.utility import (
    ClassAccuracy,
    accuracy,
    class_accuracies,
    expected_calibration_error,
    generalization_gap,
    mean_class_accuracy,
    negative_log_likelihood,
    worst_class_accuracy,
)

__all__ = [
    "MIN_CLUSTERS",
    "ClassAccuracy",
    "CurvePoint",
    "Interval",
    "Rate",
    "Resamples",
    "Roc",
    "Slice",
    "SliceSize",
    "accuracy",
    "accuracy_at",
    "auc",
    "auc_replicates",
    "balanced_accuracy",
    "check_slices",
    "class_accuracies",
    "class_slices",
    "clopper_pearson",
    "expected_calibration_error",
    "generalization_gap",
    "leakage_at",
    "matched_accuracy_difference",
    "matched_difference",
    "mean_class_accuracy",
    "mean_replicates",
    "negative_log_likelihood",
    "percentile_interval",
    "resample",
    "roc",
    "roc_replicates",
    "slice_sizes",
    "tpr_at_fpr",
    "tpr_replicates",
    "worst_class_accuracy",
]
