from __future__ import annotations

import itertools

import numpy as np
import pytest

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import accused, agreement


def test_agreement_by_hand() -> None:
    scores = [[5, 4, 3, 2, 1, 0], [5, 0, 4, 1, 2, 3], [5, 4, 0, 1, 2, 3]]
    found = agreement(scores, 1 / 3)  # {0, 1}, {0, 2}, {0, 1}
    assert (found.n_runs, found.coverage.successes, found.stability.successes, found.majority.successes) == (3, 3, 1, 2)
    assert found.overlap == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert found.overlap_by_chance == pytest.approx(1 / 5)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_agreement_equals_sets(share: float) -> None:
    scores = np.random.default_rng(0).normal(size=(5, 400)) + np.random.default_rng(1).normal(size=400)
    sets = [set(np.argsort(-row)[: round(share * 400)].tolist()) for row in scores]
    found = agreement(scores, share)
    assert found.coverage.successes == len(set.union(*sets))
    assert found.stability.successes == len(set.intersection(*sets))
    assert found.majority.successes == sum(sum(n in one for one in sets) >= 3 for n in range(400))
    overlaps = [len(one & other) / len(one | other) for one, other in itertools.combinations(sets, 2)]
    assert found.overlap == pytest.approx(np.mean(overlaps))


def test_equal_runs_agree_and_independent_ones_as_by_chance() -> None:
    rng = np.random.default_rng(2)
    same = agreement(np.tile(rng.normal(size=1000), (4, 1)), 0.1)
    assert same.overlap == 1
    assert same.coverage == same.stability == same.majority
    apart = agreement(rng.normal(size=(6, 20_000)), 0.1)
    assert apart.overlap == pytest.approx(apart.overlap_by_chance, abs=0.005)
    assert apart.stability.value < 1e-3


def test_tied_groups_are_accused_whole_or_not_at_all() -> None:
    assert accused([[3, 2, 2, 1], [3, 3, 1, 1]], 0.5).tolist() == [
        [True, False, False, False],
        [True, True, False, False],
    ]
    with pytest.raises(NotEnoughDataError, match="more than 2 scores tie"):
        accused([[1, 1, 1, 0]], 0.5)


def test_nonsense_is_refused() -> None:
    for share in (0.0, 1.0, np.nan):
        with pytest.raises(SettingError, match="share"):
            agreement(np.eye(3), share)
    with pytest.raises(NotEnoughDataError, match=r"ask for 33.333% or more"):
        agreement(np.eye(3), 0.1)
    with pytest.raises(NotEnoughDataError, match="two or more"):
        agreement([[1, 2, 3]], 0.5)
    with pytest.raises(DataError, match="NaN"):
        agreement([[1, np.nan], [1, 2]], 0.5)
