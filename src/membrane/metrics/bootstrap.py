"""Cluster bootstrap for score matrices: every model plays target once, over shared examples.

Two trials that share a model, or an example, are not independent, so models (rows) and examples
(columns) are drawn with replacement separately, and a trial counts as often as its model times as
often as its example. One set of draws serves every metric and defense, which makes differences paired.

Source: Owen 2007, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1(2), 386-411,
arXiv:0712.1111. Conservative: it counts the noise of single trials with the models, with the examples
and once more by itself, so where such noise is all there is intervals are up to 3^0.5 too long. It is for what has no
influence of single trials to go by, such as frontiers that are found anew in each resample; areas, rates and means
have ``influence``. We apply it to the area and rates of a ROC, beyond the means it was proved for, take percentiles,
and can draw complementary pairs of models as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics.arrays import FloatArray, IntArray, bools, finite_floats, trials
from membrane.metrics.intervals import Interval, check_level
from membrane.metrics.roc import auc_of_counts, caught_of_counts, check_resolvable, group_starts

MIN_CLUSTERS = 16
"""Models from which an interval clustered over them is worth its name."""


@dataclass(frozen=True, eq=False)
class Resamples:
    """How often each model and each example was drawn, in B resamples.

    Args:
        model_counts: (B, R) integers, 0 or more.
        example_counts: (B, N) integers, 0 or more.
    """

    model_counts: NDArray[np.integer]
    example_counts: NDArray[np.integer]

    def __post_init__(self) -> None:
        shapes = self.model_counts.shape, self.example_counts.shape
        if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] != shapes[1][0]:
            raise DataError(f"Counts have shapes {shapes[0]} and {shapes[1]}; they must be (B, R) and (B, N).")

    @property
    def n_resamples(self) -> int:
        """B."""
        return int(self.model_counts.shape[0])

    @property
    def n_models(self) -> int:
        """R."""
        return int(self.model_counts.shape[1])

    @property
    def n_examples(self) -> int:
        """N."""
        return int(self.example_counts.shape[1])

    def for_slice(self, mask: ArrayLike) -> Resamples:
        """The same draws seen on the columns in ``mask`` (N,) bool, so that a slice stays paired with the whole."""
        chosen = bools(mask, "mask", 1)
        if chosen.size != self.n_examples:
            raise DataError(f"mask covers {chosen.size} examples; these resamples cover {self.n_examples}.")
        return Resamples(self.model_counts, self.example_counts[:, chosen])

    def for_examples(self, n_examples: int, generator: np.random.Generator) -> Resamples:
        """The same draws of models with fresh ones of other examples, such as the test set behind an accuracy."""
        return Resamples(self.model_counts, _draw(n_examples, self.n_resamples, generator))


def resample(
    n_models: int,
    n_examples: int,
    n_resamples: int,
    generator: np.random.Generator,
    *,
    models: bool = True,
    examples: bool = True,
    models_per_draw: int = 1,
) -> Resamples:
    """Draws with replacement of models and of examples, as counts.

    Args:
        n_models: R, rows of the score matrix.
        n_examples: N, its columns.
        n_resamples: B; 500 or more for a 95 % interval.
        generator: Source of the draws.
        models: Draw models; otherwise each counts once and the result speaks of these models only.
        examples: Draw examples; otherwise each counts once and the result speaks of these examples only.
        models_per_draw: Neighbouring rows drawn as one. 2 keeps complementary pairs together, so that every
            example stays a member in as many models as not; drawn singly, pairs give longer intervals.

    Raises:
        SettingError: If a number is below 1, or ``models_per_draw`` does not divide ``n_models``.
    """
    sizes = {
        "n_models": n_models,
        "n_examples": n_examples,
        "n_resamples": n_resamples,
        "models_per_draw": models_per_draw,
    }
    for name, size in sizes.items():
        if size < 1:
            raise SettingError(f"{name} is {size}; it must be 1 or more.")
    if n_models % models_per_draw:
        raise SettingError(f"models_per_draw is {models_per_draw}; it must divide the {n_models} models evenly.")
    n_clusters = n_models // models_per_draw
    clusters = _draw(n_clusters, n_resamples, generator) if models else np.ones((n_resamples, n_clusters), np.int32)
    return Resamples(
        np.repeat(clusters, models_per_draw, axis=1),
        _draw(n_examples, n_resamples, generator) if examples else np.ones((n_resamples, n_examples), np.int32),
    )


def auc_replicates(scores: ArrayLike, is_member: ArrayLike, resamples: Resamples) -> FloatArray:
    """(B,) area under the ROC of each resample's pooled trials, exact; NaN where a class vanished.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        resamples: Draws of R models and N examples.

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing altogether.
    """
    return roc_replicates(scores, is_member, (), resamples)[0]


def tpr_replicates(
    scores: ArrayLike, is_member: ArrayLike, fpr: float, resamples: Resamples, *, min_false_positives: int = 10
) -> FloatArray:
    """(B,) share of members caught at ``fpr`` in each resample's pooled trials; NaN where a class vanished.

    Everything else is as in ``roc_replicates``.
    """
    rates = roc_replicates(scores, is_member, (fpr,), resamples, min_false_positives=min_false_positives)[1]
    return rates[:, 0]


def roc_replicates(
    scores: ArrayLike,
    is_member: ArrayLike,
    fprs: Sequence[float],
    resamples: Resamples,
    *,
    min_false_positives: int = 10,
) -> tuple[FloatArray, FloatArray]:
    """Area (B,) and shares of members caught (B, F) in each resample's pooled trials; NaN where a class vanished.

    All from one pass over the resamples. Thresholds are found anew in each, so their uncertainty is part of the
    spread.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        fprs: F allowed false-positive rates, fractions (0.001 means 0.1 %).
        resamples: Draws of R models and N examples.
        min_false_positives: How many non-member trials a rate must amount to in the data that were resampled.

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing altogether.
        NotEnoughDataError: If a rate amounts to fewer than ``min_false_positives`` non-member trials.
        SettingError: If a rate is not above 0 and at most 1, or ``min_false_positives`` is below 1.
    """
    _, member = trials(scores, is_member, 2)
    for fpr in fprs:
        check_resolvable(fpr, int(np.count_nonzero(~member)), min_false_positives)
    areas = np.full(resamples.n_resamples, np.nan)
    rates = np.full((resamples.n_resamples, len(fprs)), np.nan)
    for i, (members, non_members) in enumerate(_resampled_groups(scores, is_member, resamples)):
        areas[i] = auc_of_counts(members, non_members)
        n_members = int(members.sum())
        if n_members and non_members.any():
            rates[i] = [caught_of_counts(members, non_members, fpr) / n_members for fpr in fprs]
    return areas, rates


def mean_replicates(values: ArrayLike, resamples: Resamples) -> FloatArray:
    """(B,) weighted mean of ``values`` in each resample; NaN where nothing was drawn.

    Args:
        values: (R, M) such as correctness of R models on the M examples of ``resamples``, or (R,) such as one
            accuracy per model, where only the draws of models count.
        resamples: Draws; for a test set use ``pool_resamples.for_examples(M, generator)``.

    Raises:
        DataError: If the shapes do not fit or values are not finite.
    """
    array = finite_floats(values, "values", 1 if np.ndim(values) == 1 else 2)
    model_counts = resamples.model_counts.astype(np.float64)
    if array.ndim == 1:
        array, example_counts = array[:, None], np.ones((resamples.n_resamples, 1))
    else:
        example_counts = resamples.example_counts.astype(np.float64)
    _check_fit((array.shape[0], array.shape[1]), (resamples.n_models, example_counts.shape[1]), "values")
    sums = np.sum((model_counts @ array) * example_counts, axis=1)
    counts = model_counts.sum(axis=1) * example_counts.sum(axis=1)
    means: FloatArray = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means


def percentile_interval(point: float, replicates: ArrayLike, level: float, n_models: int) -> Interval:
    """The interval between the outer percentiles of the replicates, each end rounded outward to a replicate.

    Args:
        point: The estimate on all data.
        replicates: (B,); NaN are dropped and counted in the note, infinities are kept and open the interval.
        level: Coverage aimed at (0.95 means 95 %).
        n_models: Models resampled as wholes (pairs, if drawn as pairs); below 16 the note says they are too few.

    Raises:
        DataError: If ``replicates`` are not (B,).
        NotEnoughDataError: If fewer than two replicates have a value.
        SettingError: If ``level`` is not strictly between 0 and 1.
    """
    check_level(level)
    array = np.asarray(replicates, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"replicates have shape {array.shape}; one axis is expected.")
    kept = np.sort(array[~np.isnan(array)])
    if kept.size < 2:
        raise NotEnoughDataError(
            f"{kept.size} of {array.size} resamples have a value; an interval needs at least 2. "
            "Add members or non-members, or draw more resamples."
        )
    tail, last = (1 - level) / 2, kept.size - 1
    notes = []
    if n_models < MIN_CLUSTERS:
        notes.append(f"too few models to cluster: {n_models} < {MIN_CLUSTERS}")
    if kept.size < array.size:
        notes.append(f"{array.size - kept.size} of {array.size} resamples had no value and were dropped")
    return Interval(
        value=float(point),
        low=float(kept[math.floor(last * tail)]),
        high=float(kept[math.ceil(last * (1 - tail))]),
        level=level,
        method=f"cluster bootstrap percentiles, {kept.size} resamples",
        n_clusters=n_models,
        note="; ".join(notes),
    )


def _draw(size: int, n_resamples: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """(B, size) how often each was drawn in ``size`` draws with replacement."""
    counts = np.empty((n_resamples, size), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(generator.integers(size, size=size), minlength=size)
    return counts


def _resampled_groups(
    scores: ArrayLike, is_member: ArrayLike, resamples: Resamples
) -> Iterator[tuple[IntArray, IntArray]]:
    """For each resample, the weight of members and non-members in each tied group, highest score first."""
    checked, member = trials(scores, is_member, 2)
    _check_fit((checked.shape[0], checked.shape[1]), (resamples.n_models, resamples.n_examples), "scores")
    order = np.argsort(-checked, axis=None)  # once for all resamples: they change weights, not ranks
    starts = group_starts(checked.ravel()[order])
    sorted_member = member.ravel()[order].astype(np.int64)
    for model_counts, example_counts in zip(resamples.model_counts, resamples.example_counts, strict=True):
        weights = np.multiply.outer(model_counts.astype(np.int64), example_counts.astype(np.int64)).ravel()[order]
        members = np.add.reduceat(weights * sorted_member, starts)
        yield members, np.add.reduceat(weights, starts) - members


def _check_fit(shape: tuple[int, int], expected: tuple[int, int], name: str) -> None:
    if shape != expected:
        raise DataError(
            f"{name} have {shape[0]} models x {shape[1]} examples; the resamples {expected[0]} x {expected[1]}."
        )
