from __future__ import annotations

import numpy as np
import pytest

from membrane.core.errors import DataError, SettingError
from membrane.metrics import Slice, SliceSize, check_slices, class_slices, slice_sizes


def test_class_slices_split_the_examples() -> None:
    labels = np.array([2, 0, 2, 2])
    slices = class_slices(labels)
    assert [one.name for one in slices] == ["class 0", "class 1", "class 2"]
    assert [one.size for one in slices] == [1, 0, 3]
    np.testing.assert_array_equal(slices[2].mask, [True, False, True, True])
    np.testing.assert_array_equal(np.sum([one.mask for one in slices], axis=0), 1)
    assert [one.name for one in class_slices(labels, ["cat", "dog", "eel", "fox"])] == ["cat", "dog", "eel", "fox"]


def test_too_small_slices_are_marked_and_kept() -> None:
    slices = class_slices([0, 0, 0, 1, 1], ["large", "small", "absent"])
    is_member = np.array([[True, True, False, True, False], [False, False, True, False, True]])
    large, small, absent = slice_sizes(slices, is_member, min_members=3, min_non_members=3)
    assert large == SliceSize("large", 3, 3, True, "")
    assert small == SliceSize(
        "small", 2, 2, False, "too small: 2 member and 2 non-member trials; needs at least 3 and 3"
    )
    assert (absent.n_members, absent.n_non_members, absent.enough) == (0, 0, False)


def test_either_kind_of_trial_may_be_short() -> None:
    (one,) = class_slices([0, 0, 0])
    short_of = {
        (2, 1): True,
        (3, 1): False,
        (2, 2): False,
    }
    for (members, non_members), enough in short_of.items():
        (size,) = slice_sizes([one], [True, True, False], min_members=members, min_non_members=non_members)
        assert size.enough is enough
        assert bool(size.note) is not enough


def test_bad_slices_are_refused() -> None:
    good = Slice("canaries", np.array([True, False]))
    check_slices([good], 2)
    with pytest.raises(DataError, match=r"'canaries' covers 2 examples; there are 3\. 2 slices are named 'canaries'"):
        check_slices([good, Slice("canaries", np.array([True, False, True]))], 3)
    with pytest.raises(DataError, match="mask of slice 'ids' holds int64"):
        Slice("ids", np.array([0, 4]))
    with pytest.raises(DataError, match="empty name"):
        Slice(" ", np.array([True]))
    with pytest.raises(DataError, match="there are 2 names"):
        class_slices([0, 2], ["cat", "dog"])
    with pytest.raises(DataError, match="2 slices are named 'cat'"):
        class_slices([0, 1], ["cat", "cat"])
    with pytest.raises(DataError, match="covers 2 examples; there are 3"):
        slice_sizes([good], [True, False, True])
    with pytest.raises(SettingError, match="min_members is 0"):
        slice_sizes([good], [True, False], min_members=0)
