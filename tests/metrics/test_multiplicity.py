from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError
from membrane.metrics import Slice, auc, class_slices, holm, slice_excesses


def step_down(p_values: list[float], level: float) -> set[int]:
    """Holm's own words: the smallest against level / K, the next against level / (K - 1), until one fails."""
    rejected: set[int] = set()
    for k, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - k):
            break
        rejected.add(index)
    return rejected


def test_adjusted_values_reject_what_the_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 7, 40):
        for _ in range(50):
            p_values = (rng.random(n) ** 4).round(3)
            adjusted = holm(p_values)
            for level in (0.01, 0.05, 0.3):
                # A hair above, so that a product that rounds up is not the difference.
                assert set(np.flatnonzero(adjusted <= level * (1 + 1e-12))) == step_down(
                    p_values.tolist(), level * (1 + 1e-12)
                )
            assert (adjusted >= p_values).all()
            assert adjusted.max() <= 1


def test_any_mistake_among_true_nulls_is_as_rare_as_asked() -> None:
    p_values = np.random.default_rng(1).random((4000, 10))
    wrong = np.mean([holm(row).min() <= 0.05 for row in p_values])
    assert wrong == pytest.approx(0.05, abs=0.012)
    assert np.mean(p_values.min(axis=1) <= 0.05) > 0.35  # what looking at each alone would do


def trials(leak: np.ndarray, seed: int, n_models: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    half = rng.random((n_models // 2, leak.size)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(n_models, leak.size)
    return rng.normal(size=member.shape) + leak * member, member


def test_the_slice_that_leaks_is_named_and_no_other() -> None:
    labels = np.arange(400) % 8
    scores, member = trials(np.where(labels == 3, 1.5, 0.0), 2)
    found = slice_excesses(scores, member, class_slices(labels))
    assert [one.name for one in found if one.adjusted <= 0.05] == ["class 3"]
    worst, inside = found[3], labels == 3
    expected = auc(scores[:, inside].ravel(), member[:, inside].ravel())
    expected -= auc(scores[:, ~inside].ravel(), member[:, ~inside].ravel())
    assert worst.excess.value == pytest.approx(expected)
    assert worst.excess.low > 0.2
    assert all(one.adjusted >= one.p_value for one in found)


def test_where_all_slices_leak_alike_none_is_named() -> None:
    labels, named = np.arange(60) % 4, 0
    for seed in range(20):
        scores, member = trials(np.full(60, 0.5), seed, 8)
        found = slice_excesses(scores, member, class_slices(labels))
        named += any(one.adjusted <= 0.05 for one in found)
    assert named <= 3  # 1 expected at most


def test_nonsense_is_refused() -> None:
    for bad in ([-0.1, 0.5], [0.5, 1.1]):
        with pytest.raises(DataError, match="between 0 and 1"):
            holm(bad)
    scores, member = trials(np.zeros(40), 0, 4)
    slices = class_slices(np.arange(40) % 4)
    with pytest.raises(DataError, match="covers 40 examples"):
        slice_excesses(scores[:, :30], member[:, :30], slices)
    with pytest.raises(DataError):
        slice_excesses(scores, member, [Slice("all", np.ones(40, bool))])
