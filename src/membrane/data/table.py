"""Tables: CSV and parquet files with one row per example, columns of features and one of labels."""

from __future__ import annotations

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError, SettingError, collected, raise_all
from membrane.data.columns import Column, column_of, labels_of, values_of
from membrane.data.examples import Examples
from membrane.data.source import Source, Splits, fitting, refuse_share, split_off

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_COLUMNS = 100_000
_MOST_UNPACKED = 1_000  # times the size of a compressed file; real tables shrink to a hundredth at best
_SMALL = 1 << 24  # bytes, or cells, that any file may unpack to


@dataclass(frozen=True)
class Table(Source):
    """A CSV or parquet file of numbers and categories with a label column.

    Numbers and booleans become one feature each, lists of numbers (parquet) one per item, texts one 0/1 feature per
    category. What is learned about a column, its categories, mean and standard deviation, is learned from the train
    split; a category that only the test split has becomes zeros. Classes are the different labels in order, whole
    numbers as numbers. Rows without a value are refused: fill or drop them first.

    Args:
        path: The file, .csv (with a header; also .tsv and .csv.gz) or .parquet.
        label: Name of the label column, whole numbers or texts.
        split: Name of a column with "train" and "test"; None to split at random.
        drop: Columns to leave out, such as an identifier.
        standardize: Bring columns that hold anything but 0 and 1 to mean 0 and standard deviation 1.
        most_categories: A text column may have so many different values in the train split.
        test: Share of the test split where there is no split column.
        seed: Of that split.
    """

    name: ClassVar[str] = "table"
    paths: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    label: str = "label"
    split: str | None = None
    drop: tuple[str, ...] = ()
    standardize: bool = True
    most_categories: int = 50
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_share(self.test, self.name)
        if self.most_categories < 2:
            raise SettingError(f"table: most_categories is {self.most_categories}; a category has 2 values or more.")

    def load(self) -> Splits:
        """Train and test split, float32 (N, D).

        Raises:
            DataError: If the file is missing, broken or lacks a column, or listing every column that cannot be used.
        """
        with fitting(self.path, "Leave columns out with drop, or rows."):
            return self._splits(self._table())

    def _splits(self, table: pa.Table) -> Splits:
        mistakes: list[str] = []
        y, classes = torch.zeros(table.num_rows, dtype=torch.int64), tuple[str, ...](["0"])
        with collected(mistakes, f"{self.path}: "):
            y, classes = labels_of(table.column(self.label), self.label)
        columns = []
        for name in self._features(table):
            with collected(mistakes, f"{self.path}: "):
                columns.append(column_of(table.column(name), name))
        raise_all(mistakes, DataError)
        rows = self._split(table)
        x = torch.from_numpy(self._encoded(columns, rows[0]))
        whole = Examples(x, y, classes, Path(self.path).name.split(".")[0])
        return Splits(*(whole[part] for part in rows))

    def _features(self, table: pa.Table) -> list[str]:
        return [name for name in table.column_names if name not in (self.label, self.split, *self.drop)]

    def _encoded(self, columns: Sequence[Column], train: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        mistakes: list[str] = []
        parts = []
        for column in columns:
            with collected(mistakes, f"{self.path}: "):
                parts.append(column.encoded(train.numpy(), self.most_categories, standardize=self.standardize))
        raise_all(mistakes, DataError)
        if (width := sum(part.shape[1] for part in parts)) > _MOST_COLUMNS:
            raise DataError(f"{self.path} would become {width:,} features; at most {_MOST_COLUMNS:,} are made.")
        return np.concatenate(parts, axis=1)

    def _split(self, table: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the train and of the test split."""
        if self.split is None:
            index = torch.arange(table.num_rows)
            parts = split_off(Examples(index[:, None].float(), index * 0, ("0",)), self.test, self.seed)
            train, test = (part.x[:].flatten().long() for part in parts)
            return train, test
        split = values_of(table.column(self.split), self.split)
        missing = {"train", "test"} - set(split)
        if missing:
            there = sorted(map(str, set(split)))
            raise DataError(f"{self.path}: no rows with {self.split} = {sorted(missing)}; there are {there}.")
        train, test = (torch.from_numpy(np.flatnonzero(split == part)) for part in ("train", "test"))
        return train, test

    def _table(self) -> pa.Table:
        import pyarrow as pa

        try:
            table = _read(self.path)
            names = table.column_names
        except FileNotFoundError as problem:
            raise DataError(f"there is no file {self.path}. Give the path of a .csv or .parquet file.") from problem
        except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
            raise DataError(f"{self.path} is not a whole CSV or parquet file ({problem}).") from problem
        found = [
            f"{self.path} has no column {name!r}; it has {names[:20]}{' and more' if len(names) > 20 else ''}. "
            "Name them in the data settings."
            for name in (self.label, *((self.split,) if self.split else ()), *self.drop)
            if name not in names
        ]
        found += [f"{self.path} has several columns {name!r}." for name, n in sorted(Counter(names).items()) if n > 1]
        if table.num_rows < 2:
            found.append(f"{self.path} has {table.num_rows} rows; two splits need two or more.")
        if not found and not self._features(table):
            found.append(f"{self.path} has no columns besides {self.label!r} and those left out.")
        raise_all(found, DataError)
        return table


def _read(path: str) -> pa.Table:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if ".parquet" in suffixes:
        told = pq.read_metadata(path)
        _refuse_bomb(path, told.num_rows * told.num_columns, "cells")
        return pq.read_table(path)
    if ".csv" not in suffixes and ".tsv" not in suffixes:
        raise DataError(f"{path} is neither .csv nor .tsv nor .parquet; only these are read.")
    if ".gz" in suffixes:
        _refuse_bomb(path, _unpacked(path), "bytes")
    missing = csv.ConvertOptions(strings_can_be_null=True)
    return csv.read_csv(
        path, parse_options=csv.ParseOptions(delimiter="\t" if ".tsv" in suffixes else ","), convert_options=missing
    )


def _refuse_bomb(path: str, n: int, what: str) -> None:
    if n > max(_MOST_UNPACKED * os.stat(path).st_size, _SMALL):
        raise DataError(
            f"{path} would unpack to {n:,} {what} or more, over {_MOST_UNPACKED:,} times its size; that is no table. "
            "If it is one, write it without compression."
        )


def _unpacked(path: str) -> int:
    """Bytes in a .gz file, counted to one above what it may hold and no further."""
    most = max(_MOST_UNPACKED * os.stat(path).st_size, _SMALL)
    n = 0
    with gzip.open(path) as content:
        while n <= most and (piece := content.read(1 << 20)):
            n += len(piece)
    return n
