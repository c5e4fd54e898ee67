from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError
from membrane.metrics import auc, leakage_difference, tpr_at_fpr


def delong(one: np.ndarray, other: np.ndarray, member: np.ndarray) -> tuple[float, float]:
    """Difference of two areas on the same trials and its standard error, by DeLong, DeLong and Clarke-Pearson 1988."""
    places = []
    for scores in (other, one):
        wins = (scores[member][:, None] > scores[~member]) + 0.5 * (scores[member][:, None] == scores[~member])
        places.append((wins.mean(), wins.mean(axis=1), wins.mean(axis=0)))
    (area, rows, columns), (area_one, rows_one, columns_one) = places
    variance = np.var(rows - rows_one, ddof=1) / member.sum() + np.var(columns - columns_one, ddof=1) / (~member).sum()
    return area - area_one, float(np.sqrt(variance))


def test_one_model_over_examples_is_as_delong_has_it() -> None:
    rng = np.random.default_rng(0)
    member = rng.random((1, 600)) < 0.5
    shared = rng.normal(size=member.shape)
    ours, theirs = (shared + 0.5 * rng.normal(size=member.shape) + leak * member for leak in (0.5, 1.0))
    found = leakage_difference(ours, theirs, member, models_per_cluster=1)
    value, error = delong(ours[0], theirs[0], member[0])
    assert found.value == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.005)
    # Unpaired it would be far wider: the two share most of what makes examples easy.
    alone = 2 * 1.96 * np.hypot(*(delong(np.zeros(600), one[0], member[0])[1] for one in (ours, theirs)))
    assert found.high - found.low < 0.7 * alone


def test_rates_and_areas_of_the_same_scores_differ_by_nothing() -> None:
    rng = np.random.default_rng(1)
    half = rng.random((4, 200)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(8, 200)
    ours = rng.normal(size=member.shape) + member
    theirs = rng.normal(size=member.shape) + 2 * member
    for fpr in (None, 0.1):
        same = leakage_difference(ours, 3 * ours + 1, member, fpr=fpr)
        assert (same.value, same.low, same.high) == (0, 0, 0)
        found = leakage_difference(ours, theirs, member, fpr=fpr)
        assert found.low > 0.05

    def rate(scores: np.ndarray) -> float:
        return tpr_at_fpr(scores.ravel(), member.ravel(), 0.1).value

    assert found.value == pytest.approx(rate(theirs) - rate(ours))
    area = leakage_difference(ours, theirs, member).value
    assert area == pytest.approx(auc(theirs.ravel(), member.ravel()) - auc(ours.ravel(), member.ravel()))
    with pytest.raises(DataError, match="shape"):
        leakage_difference(ours, theirs[:4], member)
