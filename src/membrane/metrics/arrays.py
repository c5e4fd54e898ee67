"""Array types of this room, and the checks every array passes on its way in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from membrane.core.errors import DataError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


def finite_floats(values: ArrayLike, name: str, ndim: int) -> FloatArray:
    """``values`` as float64 with ``ndim`` axes, at least one entry and nothing infinite or NaN.

    Raises:
        DataError: If they are not real numbers, or of another shape, or empty, or not finite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} hold {array.dtype}; they must be real numbers.")
    _check_shape(array, name, ndim)
    floats = array.astype(np.float64)
    n_bad = int(np.count_nonzero(~np.isfinite(floats)))
    if n_bad:
        raise DataError(f"{n_bad} of {floats.size} {name} are NaN or infinite; find out where they come from.")
    return floats


def bools(values: ArrayLike, name: str, ndim: int) -> BoolArray:
    """``values`` as a bool array with ``ndim`` axes and at least one entry.

    Raises:
        DataError: If they are not bool (0 and 1 are refused: they are easily ids or scores), or of another shape.
    """
    array = np.asarray(values)
    if array.dtype != np.bool_:
        raise DataError(f"{name} holds {array.dtype}; it must be bool. If it holds 0 and 1, pass it through `== 1`.")
    _check_shape(array, name, ndim)
    return array


def class_indices(values: ArrayLike, name: str) -> IntArray:
    """``values`` as (N,) int64 class indices, 0 or more.

    Raises:
        DataError: If they are not whole numbers, or negative, or of another shape.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} hold {array.dtype}; they must be integers, the index of a class.")
    _check_shape(array, name, 1)
    if array.min() < 0:
        raise DataError(f"{name} go down to {array.min()}; a class index is 0 or more. Drop unlabelled examples first.")
    return array.astype(np.int64)


def trials(scores: ArrayLike, is_member: ArrayLike, ndim: int = 1) -> tuple[FloatArray, BoolArray]:
    """Scores and membership, checked together: same shape, members and non-members both there.

    Raises:
        DataError: If either is refused by its own check, the shapes differ, or one class is missing.
    """
    checked = finite_floats(scores, "scores", ndim)
    member = bools(is_member, "is_member", ndim)
    if checked.shape != member.shape:
        raise DataError(f"scores have shape {checked.shape}, is_member {member.shape}; they must be equal.")
    n_members = int(np.count_nonzero(member))
    if n_members in (0, member.size):
        missing = "members" if n_members == 0 else "non-members"
        raise DataError(f"There are no {missing} among {member.size} trials; leakage needs members and non-members.")
    return checked, member


def _check_shape(array: NDArray[np.generic], name: str, ndim: int) -> None:
    if array.ndim != ndim:
        raise DataError(f"{name} have shape {array.shape}; {ndim} axes are expected, not {array.ndim}.")
    if array.size == 0:
        raise DataError(f"{name} are empty, with shape {array.shape}; give at least one.")
