"""Estimates that know what every trial adds to them, and intervals from that: nothing is drawn, nothing is resampled.

A score matrix holds one trial for each model (row) and example (column). Trials of one model, of one complementary
pair of models or of one example are not independent, and neither are those of different models once they serve as
each other's references: that shows in the sums over examples. So the variance is that of the sums over pairs, plus
that of the sums over examples, less that of the single cells of pair and example, which the two have both counted.
The intervals are over other trainings and other examples of the same kind, and aim at their level, not above it.

Source: Cameron, Gelbach and Miller 2011, "Robust Inference With Multiway Clustering", Journal of Business & Economic
Statistics 29(2), 238-249, for the variance; DeLong, DeLong and Clarke-Pearson 1988, "Comparing the Areas under Two or
More Correlated Receiver Operating Characteristic Curves", Biometrics 44(3), 837-845, for what a trial adds to an area;
Korn and Graubard 1998, "Confidence Intervals for Proportions With Small Expected Number of Positive Counts Estimated
From Survey Data", Survey Methodology 24(2), 193-201, for the ends. Where we differ: the variance is never below that
of the pairs or the examples, whichever is smaller; degrees of freedom are counted for the part that comes from few
pairs (after Satterthwaite 1946); the slope of the ROC at a threshold, which a rate's variance needs, is read from
half to twice the false-positive rate as if the ROC were a power law there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtr, stdtrit

from membrane.core.errors import DataError, SettingError
from membrane.metrics.arrays import BoolArray, FloatArray, IntArray, bools, finite_floats, trials
from membrane.metrics.intervals import Interval, check_level
from membrane.metrics.roc import DUST, check_resolvable

MIN_PAIRS = 4
"""Pairs of models from which an interval over them was found to cover what it says."""


@dataclass(frozen=True)
class Spread:
    """How far an estimate may be off.

    Args:
        error: Standard error.
        freedom: Degrees of freedom of Student's t for it; infinite where it comes from examples alone.
        n_clusters: Models, or pairs of them, that were taken as wholes.
    """

    error: float
    freedom: float
    n_clusters: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number measured on R models and N examples. Estimates on the same trials can be subtracted.

    Args:
        value: What was measured.
        influence: (R, N), what each trial adds to the deviation from the truth; of sum about 0.
        n_examples: Those of the N that count.
    """

    value: float
    influence: FloatArray
    n_examples: int

    def __sub__(self, other: Estimate) -> Estimate:
        if self.influence.shape != other.influence.shape:
            raise DataError(
                f"estimates on {self.influence.shape} and {other.influence.shape} trials do not share them; "
                "measure both on the same models and examples."
            )
        n_examples = max(self.n_examples, other.n_examples)
        return Estimate(self.value - other.value, self.influence - other.influence, n_examples)

    def spread(self, models_per_cluster: int = 2) -> Spread:
        """Standard error over pairs of models and over examples; of one cluster of models, over examples alone.

        Args:
            models_per_cluster: Neighbouring rows that belong together: 2 for complementary pairs.

        Raises:
            SettingError: If it does not divide the number of models.
        """
        n_models, n = self.influence.shape
        if models_per_cluster < 1 or n_models % models_per_cluster:
            raise SettingError(f"models_per_cluster is {models_per_cluster}; it must divide the {n_models} models.")
        cells = self.influence.reshape(-1, models_per_cluster, n).sum(axis=1)  # (clusters, N)
        k = len(cells)
        by_example = _scaled(n) * float(np.square(cells.sum(axis=0)).sum())
        if k == 1:
            return Spread(math.sqrt(by_example), math.inf, 1)
        by_cluster = _scaled(k) * float(np.square(cells.sum(axis=1)).sum())
        variance = max(by_cluster + by_example - float(np.square(cells).sum()), min(by_cluster, by_example))
        freedom = (k - 1) * max(variance / by_cluster, 1.0) ** 2 if by_cluster > 0 else math.inf
        return Spread(math.sqrt(variance), freedom, k)


def auc_estimate(scores: ArrayLike, is_member: ArrayLike, mask: ArrayLike | None = None) -> Estimate:
    """Area under the ROC of the pooled trials.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        mask: (N,) bool, the examples that count; all if not given.

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing.
    """
    chosen, member, columns = _chosen(scores, is_member, mask)
    own, other = np.sort(chosen[member]), np.sort(chosen[~member])
    beaten, missed = _twice_below(other, chosen[member]), _twice_below(own, chosen[~member])
    value = int(beaten.sum()) / (2 * own.size * other.size)
    parts = np.empty(chosen.shape)
    parts[member] = (beaten / (2 * other.size) - value) / own.size
    parts[~member] = (1 - missed / (2 * own.size) - value) / other.size
    return Estimate(value, _among(parts, columns), chosen.shape[1])


def tpr_estimate(
    scores: ArrayLike,
    is_member: ArrayLike,
    fpr: float,
    mask: ArrayLike | None = None,
    *,
    min_false_positives: int = 10,
) -> Estimate:
    """Share of members caught by the lowest threshold that accuses at most ``fpr`` of non-members, found here too.

    Args:
        scores: (R, N), higher means more likely a member.
        is_member: (R, N) bool.
        fpr: Allowed false-positive rate, a fraction (0.001 means 0.1 %).
        mask: (N,) bool, the examples that count; all if not given.
        min_false_positives: How many non-member trials ``fpr`` must amount to.

    Raises:
        DataError: If the shapes do not fit, scores are not finite, or a class is missing.
        NotEnoughDataError: If ``fpr`` amounts to fewer than ``min_false_positives`` non-member trials.
        SettingError: If ``fpr`` is not above 0 and at most 1.
    """
    chosen, member, columns = _chosen(scores, is_member, mask)
    own, other = np.sort(chosen[member]), np.sort(chosen[~member])
    check_resolvable(fpr, other.size, min_false_positives)
    threshold, caught, accused = _at(own, other, fpr)
    parts = np.empty(chosen.shape)
    parts[member] = ((chosen[member] > threshold) - caught) / own.size
    parts[~member] = -_slope(own, other, fpr) * ((chosen[~member] > threshold) - accused) / other.size
    return Estimate(caught, _among(parts, columns), chosen.shape[1])


def mean_estimate(values: ArrayLike) -> Estimate:
    """Mean of (R, N) values, such as the correctness of R models on N examples.

    Raises:
        DataError: If they are not (R, N) finite numbers.
    """
    checked = finite_floats(values, "values", 2)
    value = float(checked.mean())
    return Estimate(value, (checked - value) / checked.size, checked.shape[1])


def share_interval(
    estimate: Estimate, n: int | None = None, *, models_per_cluster: int = 2, level: float = 0.95
) -> Interval:
    """Interval of a number between 0 and 1: Clopper-Pearson's for as many independent trials as would vary as much.

    At 0 or 1, where nothing varies, as many as there are examples.

    Args:
        estimate: The number.
        n: Independent trials that it is worth at most: those that a rate was counted in. An area may be worth more,
            because what makes an example hard cancels between the two models of a pair.
        models_per_cluster: As in ``Estimate.spread``.
        level: Coverage aimed at (0.95 means 95 %).

    Raises:
        DataError: If the value is not between 0 and 1.
        SettingError: If ``level`` or ``models_per_cluster`` does not fit.
    """
    check_level(level)
    value, spread = estimate.value, estimate.spread(models_per_cluster)
    if not 0 <= value <= 1:
        raise DataError(f"the value is {value}; this interval is for shares between 0 and 1.")
    worth, most = float(estimate.n_examples), math.inf if n is None else n
    if 0 < value < 1 and spread.error > 0:
        tail = (1 + level) / 2
        worth = min(most, value * (1 - value) * (ndtri(tail) / (_quantile(spread, tail) * spread.error)) ** 2)
    hits = value * worth
    low = 0.0 if value == 0 else float(betaincinv(hits, worth - hits + 1, (1 - level) / 2))
    high = 1.0 if value == 1 else float(betaincinv(hits + 1, worth - hits, (1 + level) / 2))
    return _interval(value, min(low, value), max(high, value), level, spread)


def difference_interval(estimate: Estimate, *, models_per_cluster: int = 2, level: float = 0.95) -> Interval:
    """Interval of a difference, by Student's t.

    Raises:
        SettingError: If ``level`` or ``models_per_cluster`` does not fit.
    """
    check_level(level)
    spread = estimate.spread(models_per_cluster)
    room = _quantile(spread, (1 + level) / 2) * spread.error
    return _interval(estimate.value, estimate.value - room, estimate.value + room, level, spread)


def p_value_above(estimate: Estimate, *, models_per_cluster: int = 2) -> float:
    """Chance of a value as large or larger if the truth were 0; one-sided, 0 to 1."""
    spread = estimate.spread(models_per_cluster)
    if spread.error == 0:
        return 1.0 if estimate.value <= 0 else 0.0
    ratio = estimate.value / spread.error
    return float(stdtr(_finite(spread.freedom), -ratio))


def _scaled(n: int) -> float:
    """Correction of a sum of ``n`` squares for the mean that was estimated from them."""
    return n / (n - 1) if n > 1 else 1.0


def _finite(freedom: float) -> float:
    return min(freedom, 1e9)


def _quantile(spread: Spread, at: float) -> float:
    return float(stdtrit(_finite(spread.freedom), at))


def _interval(value: float, low: float, high: float, level: float, spread: Spread) -> Interval:
    over = "examples" if spread.n_clusters == 1 else "pairs of models and examples"
    note = f"few pairs of models: {spread.n_clusters} < {MIN_PAIRS}" if 1 < spread.n_clusters < MIN_PAIRS else ""
    return Interval(value, low, high, level, f"two-way cluster variance over {over}", spread.n_clusters, note)


def _chosen(scores: ArrayLike, is_member: ArrayLike, mask: ArrayLike | None) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Scores and membership of the columns that count, and which those are (N,)."""
    checked, member = trials(scores, is_member, 2)
    if mask is None:
        return checked, member, np.ones(checked.shape[1], dtype=bool)
    columns = bools(mask, "mask", 1)
    if columns.size != checked.shape[1]:
        raise DataError(f"mask covers {columns.size} examples; there are {checked.shape[1]}.")
    return *trials(checked[:, columns], member[:, columns], 2), columns


def _among(parts: FloatArray, columns: BoolArray) -> FloatArray:
    """(R, N) with 0 for the examples that do not count."""
    if columns.all():
        return parts
    whole = np.zeros((len(parts), columns.size))
    whole[:, columns] = parts
    return whole


def _twice_below(rising: FloatArray, values: FloatArray) -> IntArray:
    """Twice the number of ``rising`` below each value, ties counted half."""
    twice: IntArray = np.searchsorted(rising, values, side="left") + np.searchsorted(rising, values, side="right")
    return twice


def _at(own: FloatArray, other: FloatArray, fpr: float) -> tuple[float, float, float]:
    """Threshold that scores must exceed, and the shares of members and non-members that do."""
    allowed = math.floor(fpr * other.size * (1 + DUST))
    if allowed >= other.size:
        return -math.inf, 1.0, 1.0
    threshold = float(other[-1 - allowed])
    caught, accused = (int(part.size - np.searchsorted(part, threshold, side="right")) for part in (own, other))
    return threshold, caught / own.size, accused / other.size


def _slope(own: FloatArray, other: FloatArray, fpr: float) -> float:
    """Slope of the ROC at ``fpr``."""
    (_, less, rare), (_, caught, accused), (_, more, often) = (
        _at(own, other, at) for at in (fpr / 2, fpr, min(2 * fpr, 1.0))
    )
    if less > 0 and rare > 0 and accused > 0 and often > rare:
        return math.log(more / less) / math.log(often / rare) * caught / accused
    return (more - less) / (often - rare) if often > rare else 0.0
