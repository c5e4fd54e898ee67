"""Metrics: arrays in, values out. Exact ROC, intervals, utility, slices, accuracy-against-leakage curves."""

from __future__ import annotations

from membrane.metrics.agreement import Agreement, accused, agreement, agreement_of
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
from membrane.metrics.couples import CouplesBound, couples_bound
from membrane.metrics.curves import (
    CurvePoint,
    accuracy_at,
    leakage_at,
    matched_accuracy_difference,
    matched_difference,
    point_at,
)
from membrane.metrics.epsilon import EpsilonBound, epsilon_bound
from membrane.metrics.exposure import Accusations, accusations
from membrane.metrics.influence import (
    MIN_PAIRS,
    Estimate,
    Spread,
    auc_estimate,
    difference_interval,
    mean_estimate,
    p_value_above,
    share_interval,
    tpr_estimate,
)
from membrane.metrics.intervals import Interval, Rate, clopper_pearson
from membrane.metrics.multiplicity import SliceExcess, holm, slice_excesses
from membrane.metrics.one_run import OneRunAudit, audit_one_run, guess_membership, one_run_p_value
from membrane.metrics.paired import leakage_difference
from membrane.metrics.roc import Roc, auc, balanced_accuracy, roc, tpr_at_fpr
from membrane.metrics.sample_size import non_members_to_measure, non_members_to_show
from membrane.metrics.slices import Slice, SliceSize, check_slices, class_slices, slice_sizes
from membrane.metrics.tail import tail_estimate
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
    "MIN_PAIRS",
    "Accusations",
    "Agreement",
    "ClassAccuracy",
    "CouplesBound",
    "CurvePoint",
    "EpsilonBound",
    "Estimate",
    "Interval",
    "OneRunAudit",
    "Rate",
    "Resamples",
    "Roc",
    "Slice",
    "SliceExcess",
    "SliceSize",
    "Spread",
    "accuracy",
    "accuracy_at",
    "accusations",
    "accused",
    "agreement",
    "agreement_of",
    "auc",
    "auc_estimate",
    "auc_replicates",
    "audit_one_run",
    "balanced_accuracy",
    "check_slices",
    "class_accuracies",
    "class_slices",
    "clopper_pearson",
    "couples_bound",
    "difference_interval",
    "epsilon_bound",
    "expected_calibration_error",
    "generalization_gap",
    "guess_membership",
    "holm",
    "leakage_at",
    "leakage_difference",
    "matched_accuracy_difference",
    "matched_difference",
    "mean_class_accuracy",
    "mean_estimate",
    "mean_replicates",
    "negative_log_likelihood",
    "non_members_to_measure",
    "non_members_to_show",
    "one_run_p_value",
    "p_value_above",
    "percentile_interval",
    "point_at",
    "resample",
    "roc",
    "roc_replicates",
    "share_interval",
    "slice_excesses",
    "slice_sizes",
    "tail_estimate",
    "tpr_at_fpr",
    "tpr_estimate",
    "tpr_replicates",
    "worst_class_accuracy",
]
