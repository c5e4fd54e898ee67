from __future__ import annotations

import pytest
import torch

from membrane.core.errors import DataError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import Digits, Examples, LongTail
from membrane.data.long_tail import long_tailed


def balanced(n_each: int = 1_000, n_classes: int = 3) -> Examples:
    y = torch.arange(n_each * n_classes) % n_classes
    return Examples(torch.arange(len(y)).float()[:, None], y, tuple("abcdefghij"[:n_classes]))


def counts(examples: Examples) -> list[int]:
    return examples.y.bincount(minlength=len(examples.classes)).tolist()


def test_sizes_fall_exponentially_to_one_in_ratio() -> None:
    assert sorted(counts(long_tailed(balanced(), 100, torch_generator(0)))) == [10, 100, 1_000]
    assert sorted(counts(long_tailed(balanced(81, 5), 81, torch_generator(0)))) == [1, 3, 9, 27, 81]
    assert counts(long_tailed(balanced(), 1, torch_generator(0))) == [1_000, 1_000, 1_000]
    assert counts(long_tailed(balanced(50, 1), 10, torch_generator(0))) == [50]


def test_unequal_classes_are_thinned_to_the_ratio_between_all() -> None:
    y = torch.tensor([0] * 900 + [1] * 40 + [2] * 100)
    examples = Examples(torch.arange(len(y)).float()[:, None], y, ("a", "b", "c", "empty"))
    for seed in range(20):
        largest, middle, smallest, empty = sorted(counts(long_tailed(examples, 9, torch_generator(seed))), reverse=True)
        assert empty == 0
        assert abs(largest - 9 * smallest) < 9
        assert abs(largest - 3 * middle) < 3


def test_what_stays_is_a_random_part_in_the_same_order_with_its_labels() -> None:
    part = long_tailed(balanced(), 100, torch_generator(0))
    rows = part.x.flatten()
    assert (rows.diff() > 0).all()
    assert torch.equal(rows.long() % 3, part.y)
    rarest = part.y.bincount().argmin()
    assert rows[part.y == rarest].mean() > 100, "not just the first ones"
    other = long_tailed(balanced(), 100, torch_generator(1))
    assert part.checksum() == long_tailed(balanced(), 100, torch_generator(0)).checksum() != other.checksum()


def test_every_class_may_be_the_rarest() -> None:
    parts = [long_tailed(balanced(), 100, torch_generator(seed)) for seed in range(30)]
    assert {counts(part).index(10) for part in parts} == {0, 1, 2}


def test_a_ratio_that_leaves_a_class_empty_is_refused_with_the_largest_that_fits() -> None:
    with pytest.raises(DataError, match=r"would have 0\.50 examples; at most 50 fits"):
        long_tailed(balanced(50), 100, torch_generator(0))
    assert min(counts(long_tailed(balanced(50), 50, torch_generator(0)))) == 1


@pytest.mark.parametrize("ratio", [0.5, -1.0, float("nan"), float("inf")])
def test_ratios_out_of_range_are_refused(ratio: float) -> None:
    with pytest.raises(SettingError, match="ratio is"):
        LongTail(Digits(), ratio)
    with pytest.raises(SettingError, match="ratio is"):
        long_tailed(balanced(), ratio, torch_generator(0))


def test_the_test_split_stays_and_the_part_is_pinned() -> None:
    """Stored trainings are found by it."""
    train, test = LongTail(Digits(), 10).load()
    assert test.checksum() == Digits().load().test.checksum()
    assert counts(train) == [66, 14, 40, 24, 31, 51, 18, 86, 111, 144]
    assert train.checksum() == "186e1cc4c71a676e"
