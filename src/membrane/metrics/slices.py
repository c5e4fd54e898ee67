"""Slices: named subsets of the examples, each reported with its size, also when it is too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, SettingError
from membrane.metrics.arrays import BoolArray, bools, class_indices


@dataclass(frozen=True, eq=False)
class Slice:
    """A named subset of N examples.

    Args:
        name: Shown in reports, not empty.
        mask: (N,) bool, True for the examples in it; all False is allowed and reported as too small.

    Raises:
        DataError: If the name is empty or the mask is not (N,) bool.
    """

    name: str
    mask: BoolArray

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise DataError("A slice has an empty name; give it one that readers of the report understand.")
        object.__setattr__(self, "mask", bools(self.mask, f"mask of slice {self.name!r}", 1))

    @property
    def size(self) -> int:
        """Examples in it."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class SliceSize:
    """How many trials a slice offers, and whether they are enough.

    Args:
        name: Of the slice.
        n_members: Member trials in it.
        n_non_members: Non-member trials in it.
        enough: Whether both reach what was asked for.
        note: What is missing; empty if enough.
    """

    name: str
    n_members: int
    n_non_members: int
    enough: bool
    note: str


def check_slices(slices: Sequence[Slice], n: int) -> None:
    """Refuse slices that do not cover ``n`` examples or share a name.

    Raises:
        DataError: Listing all that is wrong.
    """
    wrong = [
        f"slice {one.name!r} covers {one.mask.size} examples; there are {n}." for one in slices if one.mask.size != n
    ]
    counts = Counter(one.name for one in slices)
    wrong += [f"{count} slices are named {name!r}; names must differ." for name, count in counts.items() if count > 1]
    if wrong:
        raise DataError(" ".join(wrong))


def class_slices(labels: ArrayLike, names: Sequence[str] | None = None) -> tuple[Slice, ...]:
    """One slice per class, in the order of the class index.

    Args:
        labels: (N,) integers.
        names: (C,) names of the classes, also of those without examples here; by default "class 0" and so on
            up to the largest label.

    Raises:
        DataError: If labels are not class indices, exceed ``names``, or names repeat.
    """
    checked = class_indices(labels, "labels")
    n_classes = int(checked.max()) + 1
    if names is None:
        names = [f"class {label}" for label in range(n_classes)]
    if len(names) < n_classes:
        raise DataError(f"labels go up to {n_classes - 1}; there are {len(names)} names. Give one for each class.")
    slices = tuple(Slice(name, checked == label) for label, name in enumerate(names))
    check_slices(slices, checked.size)
    return slices


def slice_sizes(
    slices: Sequence[Slice], is_member: ArrayLike, *, min_members: int = 1, min_non_members: int = 1
) -> tuple[SliceSize, ...]:
    """Size of every slice in the order given, too-small ones marked, none dropped.

    Args:
        slices: Of N examples.
        is_member: (N,) or (R, N) bool; with R models each example is R trials.
        min_members: Member trials a slice needs, 1 or more.
        min_non_members: Non-member trials a slice needs, 1 or more; 1 000 for TPR at 1 % FPR.

    Raises:
        DataError: If slices or membership do not fit.
        SettingError: If a minimum is below 1.
    """
    for name, least in (("min_members", min_members), ("min_non_members", min_non_members)):
        if not least >= 1:
            raise SettingError(f"{name} is {least}; it must be 1 or more.")
    member = np.atleast_2d(bools(is_member, "is_member", 1 if np.ndim(is_member) == 1 else 2))
    check_slices(slices, member.shape[1])
    return tuple(_size(one, member[:, one.mask], min_members, min_non_members) for one in slices)


def _size(one: Slice, member: BoolArray, min_members: int, min_non_members: int) -> SliceSize:
    n_members = int(np.count_nonzero(member))
    n_non_members = member.size - n_members
    enough = n_members >= min_members and n_non_members >= min_non_members
    note = (
        f"too small: {n_members} member and {n_non_members} non-member trials; "
        f"needs at least {min_members} and {min_non_members}"
    )
    return SliceSize(one.name, n_members, n_non_members, enough, "" if enough else note)
