from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError, NotEnoughDataError
from membrane.metrics import accusations, agreement_of, tpr_at_fpr


def pairs(n_models: int, n: int, generator: np.random.Generator) -> np.ndarray:
    first = np.argsort(generator.random((n_models // 2, n)), axis=1) < n // 2
    return np.stack([first, ~first], axis=1).reshape(n_models, n)


@pytest.mark.parametrize("n_distinct", [6, 10**6])
def test_each_model_accuses_as_its_own_rate_says(n_distinct: int) -> None:
    generator = np.random.default_rng(0)
    member = pairs(6, 400, generator)
    scores = generator.integers(n_distinct, size=member.shape) * (1 + member)
    found = accusations(scores, member, 0.1)
    for row in range(6):
        rate = tpr_at_fpr(scores[row], member[row], 0.1)
        assert (found.said & found.is_member)[row].sum() == rate.successes
        assert (found.said & ~found.is_member)[row].sum() <= 20
    assert found.caught.sum() + found.falsely.sum() == found.said.sum()


def test_members_that_every_model_catches_are_told_from_chance() -> None:
    generator = np.random.default_rng(1)
    member = pairs(8, 1000, generator)
    scores = generator.normal(size=member.shape)
    scores[:, :50] += 20.0 * member[:, :50]
    found = accusations(scores, member, 0.02)
    assert (found.caught[:50] == 4).all()
    said = found.agreement()
    assert said.stability.successes == 50
    assert 0.5 < said.overlap <= 1
    assert said.overlap_by_chance < 0.1


@pytest.mark.parametrize(("same", "calibrated"), [(0.0, True), (3.0, False)])
def test_examples_that_are_always_accused_show_as_false_alarms(same: float, calibrated: bool) -> None:
    generator = np.random.default_rng(2)
    member = pairs(16, 2000, generator)
    scores = generator.normal(size=member.shape) + same * generator.normal(size=(1, 2000))
    twice, expected = accusations(scores, member, 0.01).falsely_twice()
    assert expected == pytest.approx(1 - 0.99**8 - 8 * 0.01 * 0.99**7, rel=0.05)
    assert (twice.low <= expected <= twice.high) is calibrated


def test_agreement_counts_only_what_counts() -> None:
    said = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1]]) == 1
    counted = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0]]) == 1
    found = agreement_of(said, counted, 0.5)
    # accused of those that count: 0 by 2 of 2, 1 by 1 of 3, 2 by 2 of 2; 3 counts nowhere
    assert (found.coverage.n, found.coverage.successes) == (3, 3)
    assert (found.stability.successes, found.majority.successes) == (2, 2)
    # runs 0 and 1 share {0, 1}: {0, 1} and {0}; 1 and 2 share {1, 2}: {2} and {2}; 0 and 2 share {1}: {1} and nothing
    assert found.overlap == pytest.approx((1 / 2 + 1 + 0) / 3)
    with pytest.raises(DataError, match="shape"):
        agreement_of(said, counted[:, :2], 0.5)
    with pytest.raises(NotEnoughDataError, match="two runs"):
        agreement_of(said[:1], counted[:1], 0.5)


def test_too_few_non_members_are_refused() -> None:
    member = pairs(4, 100, np.random.default_rng(3))
    with pytest.raises(NotEnoughDataError, match="needs at least 1000"):
        accusations(np.zeros(member.shape), member, 0.01)
