"""Columns of a table as numbers: what they hold is found out once, what is learned comes from the train rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from membrane.core.errors import DataError, raise_all
from membrane.data.examples import class_names

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_CLASSES = 10_000

Values = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Column:
    """A column without gaps.

    Args:
        name: As the file calls it.
        values: (N, k) float64 numbers, or (N,) texts.
    """

    name: str
    values: Values

    def encoded(
        self, train: Values, most_categories: int, *, standardize: bool
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """float32 features (N, k), with categories or mean and standard deviation of the rows ``train``.

        Raises:
            DataError: If there are too many categories, or a number is too large for float32.
        """
        if self.values.ndim == 1:
            return self._one_hot(train, most_categories)
        values = self.values
        if standardize:
            seen = values[train]
            plain = np.isin(seen, (0, 1)).all(0) | (seen == seen[0]).all(0)
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                mean, std = seen.mean(0), seen.std(0)
                values = np.where(plain, values, (values - mean) / np.where(plain | (std == 0), 1, std))
            values[:, ~plain & ~np.isfinite(std)] = np.inf
        with np.errstate(over="ignore"):
            features = values.astype(np.float32)
        if not np.isfinite(features).all():
            row = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
            raise DataError(
                f"column {self.name!r} holds {self.values[row].max():g} in row {row}; too large for float32."
            )
        return features

    def _one_hot(self, train: Values, most_categories: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        categories = sorted(set(self.values[train]))
        if len(categories) > most_categories:
            raise DataError(
                f"column {self.name!r} holds {len(categories):,} different texts such as {categories[0]!r}; at most "
                f"{most_categories} become features. Put it into drop, or raise most_categories."
            )
        return np.stack([self.values == category for category in categories], 1).astype(np.float32)


def column_of(values: pa.ChunkedArray, name: str) -> Column:
    """Numbers, booleans, lists of as many numbers, or texts.

    Raises:
        DataError: If it holds something else, or no value in some row; rows count from 0, the header aside.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = values.type
    if kinds.is_dictionary(kind):
        try:
            values = values.dictionary_decode()
        except pa.ArrowException as problem:
            raise _unreadable(name, problem) from problem
        kind = values.type
    _refuse_gaps(np.asarray(values.is_null()), name)
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return Column(name, values_of(values, name))
    width = 1
    if kinds.is_fixed_size_list(kind) or kinds.is_list(kind) or kinds.is_large_list(kind):
        lengths = {len(item) for item in values}
        if len(lengths) != 1:
            raise DataError(f"column {name!r} holds lists of {min(lengths)} to {max(lengths)} items; all need as many.")
        width, values = lengths.pop(), values.flatten()
        kind = values.type
    if not (kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)):
        raise DataError(f"column {name!r} holds {kind}; make it numbers or texts, or put it into drop.")
    numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)).reshape(-1, width)
    _refuse_gaps(~np.isfinite(numbers).all(1), name)
    return Column(name, numbers)


def values_of(values: pa.ChunkedArray | pa.Array, name: str) -> Values:
    """(N,) what a column holds as Python's values, each different one made once; None where there is none.

    Raises:
        DataError: If they are no simple values, texts that are not UTF-8, or times that Python does not know.
    """
    import pyarrow as pa

    parts = [np.empty(0, dtype=object)]
    try:
        for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
            encoded = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
            different = encoded.dictionary.to_pylist()
            words = np.empty(len(different) + 1, dtype=object)
            words[:-1] = different
            parts.append(
                words[encoded.indices.cast(pa.int64()).fill_null(len(different)).to_numpy(zero_copy_only=False)]
            )
    # UnicodeDecodeError is a ValueError; an IndexError comes of a damaged file.
    except (pa.ArrowException, ValueError, OverflowError, IndexError) as problem:
        raise _unreadable(name, problem) from problem
    return np.concatenate(parts)


def _unreadable(name: str, problem: Exception) -> DataError:
    return DataError(f"column {name!r} cannot be read ({problem}); make it whole numbers or texts.")


def labels_of(values: pa.ChunkedArray, name: str) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Class indices (N,) and the classes: the different labels, in order.

    Raises:
        DataError: If labels are missing, are fractions, or are too many to be classes.
    """
    column = column_of(values, name)
    if column.values.ndim == 2 and (column.values.shape[1] != 1 or (column.values != column.values.round()).any()):
        raise DataError(f"the label column {name!r} holds fractions or lists; classes are whole numbers or texts.")
    classes, indices = np.unique(column.values.ravel(), return_inverse=True)
    if len(classes) > min(_MOST_CLASSES, max(len(column.values) // 2, 2)):
        raise DataError(
            f"the label column {name!r} holds {len(classes):,} different values in {len(column.values):,} rows; "
            "that is no column of classes."
        )
    names = [f"{value:.0f}" if isinstance(value, float) else str(value) for value in classes]
    return torch.from_numpy(indices.astype(np.int64)), class_names(len(names), names)


def _refuse_gaps(empty: Values, name: str) -> None:
    rows = np.flatnonzero(empty)
    raise_all(
        [f"column {name!r} has no value in {len(rows):,} rows, the first is row {rows[0]}. Fill or drop them."]
        if len(rows)
        else [],
        DataError,
    )
