"""The estimate from the tail of losses: by counting, on ties, and against LiRA on models where both are known."""

from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import tail_estimate


def counted(losses: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """The largest share of non-members above a threshold that at most ``fpr`` of the members are above."""
    best = 0.0
    for threshold in np.unique(losses):
        if np.mean(losses[member] >= threshold) <= fpr + 1e-12:
            best = max(best, float(np.mean(losses[~member] >= threshold)))
    return best


@pytest.mark.parametrize("n_values", [2, 7, 1000])
def test_equals_a_count_over_all_thresholds(n_values: int) -> None:
    rng = np.random.default_rng(n_values)
    member = rng.random(400) < 0.5
    losses = rng.integers(n_values, size=400) * np.where(member, 0.8, 1.0)
    for fpr in (0.1, 0.3):
        assert tail_estimate(losses, member, fpr).value == pytest.approx(counted(losses, member, fpr))


def test_says_nothing_where_members_have_the_same_tail() -> None:
    rng = np.random.default_rng(0)
    losses, member = rng.exponential(size=20_000), np.arange(20_000) < 10_000
    found = tail_estimate(losses, member, 0.01)
    assert found.low <= 0.01 <= found.high


def test_is_all_non_members_where_the_tail_is_theirs() -> None:
    losses = np.concatenate([np.zeros(100), np.ones(50)])
    assert tail_estimate(losses, np.arange(150) < 100, 0.1).value == 1.0
    assert tail_estimate(np.ones(150), np.arange(150) < 100, 0.1).value == 0.0


def test_what_cannot_be_said_is_refused() -> None:
    losses, member = np.arange(200.0), np.arange(200) < 100
    assert tail_estimate(losses, member, 0.1).value == 1.0
    with pytest.raises(NotEnoughDataError, match=r"at 9\.900% FPR needs at least 102 members; there are 100"):
        tail_estimate(losses, member, 0.099)
    with pytest.raises(SettingError, match="fpr is 0"):
        tail_estimate(losses, member, 0.0)
    with pytest.raises(DataError):
        tail_estimate(losses, np.ones(200, dtype=bool), 0.1)
