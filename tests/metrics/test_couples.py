from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError, SettingError
from membrane.metrics import audit_one_run, couples_bound


def half(m: int, generator: np.random.Generator, n: int = 400) -> np.ndarray:
    """Membership of ``m`` canaries in a random half of ``n`` examples."""
    member = np.zeros(n, dtype=bool)
    member[generator.permutation(n)[: n // 2]] = True
    return member[:m]


def test_no_leak_gives_a_bound_above_zero_as_rarely_as_said() -> None:
    generator, above = np.random.default_rng(0), 0
    for _ in range(600):
        member = half(60, generator)
        found = couples_bound({"a": generator.normal(size=60), "b": generator.normal(size=60)}, member, delta=1e-5)
        above += found is not None and found.audit.epsilon_low > 0
    assert above / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_randomized_response_is_bounded_by_its_epsilon() -> None:
    """Each couple says which of it was in, wrongly with chance 1 / (1 + e^epsilon): epsilon of replacing one."""
    generator, epsilon, bounds = np.random.default_rng(1), 2.0, []
    for _ in range(150):
        member = half(300, generator, 1000)
        lies = generator.random(150) < 1 / (1 + np.exp(epsilon))
        told = np.where(member[::2], 1.0, -1.0) * np.where(lies, -1, 1)
        scores = np.stack([told, np.zeros(150)], axis=1).ravel()
        found = couples_bound({"told": scores}, member)
        assert found is not None
        bounds.append(found.audit.epsilon_low)
    assert np.mean(np.array(bounds) > epsilon) <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
    assert np.mean(bounds) > 0.8


def test_a_full_leak_is_bounded_as_the_one_run_audit_has_it() -> None:
    member = half(101, np.random.default_rng(2), 202)
    found = couples_bound({"nothing": np.zeros(101), "all": member.astype(float)}, member)
    assert found is not None
    parted = int((member[:100:2] != member[1:100:2]).sum())
    alike = audit_one_run(np.ones(parted, int), np.ones(parted, bool), n_audits=6)
    assert (found.attack, found.n_couples, found.audit.n_canaries) == ("all", 50, parted)
    assert found.audit.epsilon_low == alike.epsilon_low > 1.5


def test_where_nothing_can_be_guessed_there_is_no_bound() -> None:
    assert couples_bound({"a": [1.0, 2.0]}, [True, True]) is None
    assert couples_bound({"a": [1.0, 1.0]}, [True, False]) is None
    assert couples_bound({"a": [1.0]}, [True]) is None


def test_nonsense_is_refused() -> None:
    with pytest.raises(SettingError, match="no scores"):
        couples_bound({}, [True, False])
    with pytest.raises(DataError, match="shape"):
        couples_bound({"a": [1.0, 2.0, 3.0]}, [True, False])
    with pytest.raises(SettingError, match="delta"):
        couples_bound({"a": [1.0, 2.0]}, [True, False], delta=0.6)
