"""Inputs that may be larger than memory: rows of .npy files, read when they are asked for.

Files are read, not mapped: pages of a mapped file count as memory of the process for as long as the system keeps them.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import numpy as np
import torch
from torch import Tensor

from membrane.core.errors import DataError
from membrane.core.values import Ints

PIECE: Final = 1 << 24  # bytes that are worked on at a time

_TYPES = {b"|u1": torch.uint8, b"<f4": torch.float32}
# As numpy writes it. Nothing is evaluated, and what a header may say is bounded by the size of the file.
_HEADER = re.compile(rb"\{'descr': '(\|u1|<f4)', 'fortran_order': False, 'shape': \((\d[\d, ]{0,200})\), ?\} *\n")
_PREAMBLES = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}  # and so many bytes for the header's length
_LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class Npy:
    """An array (N, ...) of uint8 or float32 in a .npy file of numpy's, of which nothing is held in memory.

    Args:
        path: The file.
        shape: Of the array.
        dtype: ``torch.uint8`` or ``torch.float32``.
        start: Byte at which its numbers begin.
        stamp: Size and time of change when it was opened; a file that has changed since is not read on.
    """

    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    stamp: tuple[int, int]

    @staticmethod
    def opened(path: str | os.PathLike[str]) -> Npy:
        """What the file's header says, compared with its size.

        Raises:
            DataError: If it is missing, truncated, or no .npy file of images or features, uint8 or float32, in C order.
        """
        try:
            with open(path, "rb") as file:
                shape, dtype = _header(file, str(path))
                start, stamp = file.tell(), _stamp(file)
        except (OSError, ValueError) as problem:  # a path may hold a zero byte
            raise DataError(f"cannot read {path} ({problem}). Give the path of a .npy file.") from problem
        if len(shape) not in (2, 4) or 0 in shape:
            raise DataError(
                f"{path} holds inputs of shape {shape}; images are (N, channels, height, width), features "
                "(N, D), one of them or more."
            )
        needed = math.prod(shape) * dtype.itemsize
        if start + needed != stamp[0]:
            raise DataError(
                f"{path} has {stamp[0]:,} bytes, {start} before its numbers; those of shape {shape} take {needed:,}: "
                "it is truncated or damaged. Write it again."
            )
        return Npy(str(path), shape, dtype, start, stamp)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Ints, into: Tensor, at: Ints) -> None:
        """Put ``rows`` of the file to the places ``at`` of ``into``; rows that follow each other are read at once.

        Raises:
            DataError: If the file has changed since it was opened, or cannot be read.
        """
        n_bytes = _row_bytes(self.shape, self.dtype)
        memory = into.numpy().data.cast("B")
        ends = np.flatnonzero((np.diff(rows) != 1) | (np.diff(at) != 1)) + 1
        try:
            with open(self.path, "rb", buffering=0) as file:
                self._refuse_changed(file)
                for first, last in zip([0, *ends.tolist()], [*ends.tolist(), len(rows)], strict=True):
                    file.seek(self.start + int(rows[first]) * n_bytes)
                    place = memory[int(at[first]) * n_bytes : (int(at[first]) + last - first) * n_bytes]
                    if file.readinto(place) != len(place):
                        raise DataError(f"{self.path} ended while it was read; write it again.")
        except OSError as problem:
            raise DataError(f"cannot read {self.path} any more ({problem.strerror}).") from problem

    def sha256(self) -> str:
        """SHA-256 of the file, header included, in hex digits.

        Raises:
            DataError: If it has changed since it was opened, or cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                self._refuse_changed(file)
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as problem:
            raise DataError(f"cannot read {self.path} any more ({problem.strerror}).") from problem

    def _refuse_changed(self, file: BinaryIO) -> None:
        if _stamp(file) != self.stamp:
            raise DataError(f"{self.path} has changed since it was opened; start again with the file as it is now.")


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs (N, ...) that are read when asked for: rows of arrays in files or in memory.

    ``rows[index]`` and ``rows[a:b]`` read and give a tensor; ``chosen`` and ``replaced`` read nothing.

    Args:
        parts: Arrays of one type and shape apart from their length, thought of one after the other.
        index: (N,) int64, positions in them.
    """

    parts: tuple[Npy | Tensor, ...]
    index: Tensor

    @property
    def shape(self) -> torch.Size:
        """(N, ...)."""
        return torch.Size((len(self.index), *self.parts[0].shape[1:]))

    @property
    def ndim(self) -> int:
        """Number of dimensions, as of a tensor."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` or ``torch.float32``."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes that all of it would take in memory."""
        return len(self) * _row_bytes(self.shape, self.dtype)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """The chosen inputs (K, ...), in memory.

        Raises:
            DataError: If a file has changed since it was opened, or cannot be read.
        """
        wanted = self.index[chosen].numpy()
        starts = np.cumsum([0, *map(len, self.parts)])
        part_of = np.searchsorted(starts, wanted, side="right") - 1
        found = torch.empty((len(wanted), *self.shape[1:]), dtype=self.dtype)
        for number in np.unique(part_of):
            part, at = self.parts[number], np.flatnonzero(part_of == number)
            rows = wanted[at] - starts[number]
            if isinstance(part, Npy):
                part.read(rows, found, at)
            else:
                found[at] = part[rows]
        return found

    def chosen(self, index: Tensor | slice) -> Rows:
        """These rows alone, in that order."""
        return replace(self, index=self.index[index])

    def replaced(self, index: Tensor, x: Tensor) -> Rows:
        """The same with other inputs ``x`` (K, ...), kept in memory, at the positions ``index`` (K,)."""
        changed = self.index.clone()
        changed[index] = sum(map(len, self.parts)) + torch.arange(len(x))
        return Rows((*self.parts, x), changed)


Inputs = Tensor | Rows


def rows_of(files: Sequence[Npy]) -> Rows:
    """All rows of the files, in order.

    Raises:
        DataError: If they differ in type, or in shape apart from their length.
    """
    kinds = {(file.dtype, file.shape[1:]) for file in files}
    if len(kinds) != 1:
        raise DataError(f"arrays of different kinds cannot be one: {sorted(map(str, kinds))}.")
    return Rows(tuple(files), torch.arange(sum(map(len, files))))


def selected(x: Inputs, index: Tensor | slice) -> Inputs:
    """The chosen inputs; of a tensor a tensor, of rows rows, nothing read."""
    return x.chosen(index) if isinstance(x, Rows) else x[index]


def replaced(x: Inputs, index: Tensor, new: Tensor) -> Inputs:
    """The inputs with others at the positions ``index``; ``x`` stays as it is."""
    if isinstance(x, Rows):
        return x.replaced(index, new)
    changed = x.clone()
    changed[index] = new
    return changed


def concatenated(parts: Sequence[Inputs]) -> Inputs:
    """The inputs of all parts in order: a tensor if all are tensors, else rows."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if len(tensors) == len(parts):
        return torch.cat(tensors)
    rows = [part if isinstance(part, Rows) else Rows((part,), torch.arange(len(part))) for part in parts]
    starts = np.cumsum([0, *(sum(map(len, one.parts)) for one in rows)])
    index = torch.cat([one.index + int(start) for one, start in zip(rows, starts, strict=False)])
    return Rows(tuple(part for one in rows for part in one.parts), index)


def pieces(x: Inputs, rows: int | None = None) -> Iterator[Tensor]:
    """The inputs in order, ``rows`` at a time; as many as take ``PIECE`` bytes, at least one, if not given."""
    rows = rows or max(PIECE // max(_row_bytes(x.shape, x.dtype), 1), 1)
    yield from (x[start : start + rows] for start in range(0, len(x), rows))


def refuse_infinite(x: Rows, where: str) -> None:
    """Refuse inputs on disk that are not finite, in one pass over them.

    Raises:
        DataError: Counting them and naming the first.
    """
    if x.dtype == torch.uint8:
        return
    bad = torch.cat([~torch.isfinite(piece.flatten(1)).all(1) for piece in pieces(x)])
    if bad.any():
        raise DataError(
            f"{where}: {int(bad.sum())} inputs hold NaN or infinity, the first is number {int(bad.nonzero()[0])}. "
            "Remove or fill them."
        )


def _row_bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return math.prod(shape[1:]) * dtype.itemsize


def _stamp(file: BinaryIO) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _header(file: BinaryIO, path: str) -> tuple[tuple[int, ...], torch.dtype]:
    width = _PREAMBLES.get(file.read(8))
    length = int.from_bytes(file.read(width), "little") if width else 0
    found = _HEADER.fullmatch(file.read(length)) if length <= _LONGEST_HEADER else None
    sizes = [size.strip() for size in found[2].split(b",")] if found else []
    if sizes and not sizes[-1]:
        sizes.pop()  # (5,) ends in a comma
    if not found or not all(re.fullmatch(rb"\d{1,15}", size) for size in sizes):
        raise DataError(
            f"{path} is no .npy file of numbers that fit: a version 1 or 2 header, uint8 or little-endian float32, C "
            "order. Convert it with numpy.save(path, numpy.ascontiguousarray(x, dtype='float32')); pickles are never "
            "read."
        )
    return tuple(map(int, sizes)), _TYPES[found[1]]
