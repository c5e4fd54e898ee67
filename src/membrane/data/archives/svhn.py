"""Street View House Numbers, cropped digits, from MATLAB files.

Source: Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning";
http://ufldl.stanford.edu/housenumbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.examples import Examples, class_names
from membrane.data.source import Splits

_HOME = "http://ufldl.stanford.edu/housenumbers"
_MOST = 100_000
_LARGEST = _MOST * 3073 + 1000  # bytes of a file, and of what is packed in it
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}  # a kind of element each

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class SVHN(Archive):
    """SVHN from ``train_32x32.mat`` and ``test_32x32.mat``: 73 257 and 26 032 images of 32x32, the ten digits.

    Args:
        path: Folder where the two files lie.
    """

    name: ClassVar[str] = "svhn"
    originals: ClassVar[tuple[Original, ...]] = (
        Original(
            "train_32x32.mat",
            f"{_HOME}/train_32x32.mat",
            "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        Original(
            "test_32x32.mat",
            f"{_HOME}/test_32x32.mat",
            "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    )

    def read(self) -> Splits:
        """Train and test split, uint8 (N, 3, 32, 32); the file's label 10 is the digit 0."""
        parts = []
        for original in self.originals:
            with self.opened(original) as content:
                parts.append(_examples(content, original.file))
        return Splits(*parts)


def _examples(content: BinaryIO, where: str) -> Examples:
    try:
        held = dict(_variables(content.read(_LARGEST)))
    except (zlib.error, struct.error, ValueError, KeyError) as problem:
        raise DataError(f"{where} is no MATLAB file of images X and labels y ({problem}).") from problem
    x, y = (held.get(name, np.empty(0)) for name in ("X", "y"))
    n = x.shape[-1]
    if x.shape != (32, 32, 3, n) or x.dtype != np.uint8 or y.shape != (n, 1) or not 1 <= n <= _MOST:
        raise DataError(
            f"{where} holds { ({name: (one.shape, str(one.dtype)) for name, one in held.items()}) }; X must be uint8 "
            f"(32, 32, 3, N) and y (N, 1), N at most {_MOST:,}."
        )
    if not np.isin(y, range(11)).all():
        raise DataError(f"{where} holds labels other than the whole numbers from 0 to 10.")
    labels = torch.from_numpy(y.astype(np.int64).ravel() % 10)
    return Examples(torch.from_numpy(np.ascontiguousarray(x.transpose(3, 2, 0, 1))), labels, class_names(10), "SVHN")


def _variables(content: bytes) -> Iterator[tuple[str, Numbers]]:
    """Name and numbers of each array in a MATLAB 5 file. scipy's reader brings the process down on damaged files."""
    if content[126:128] != b"IM":
        raise ValueError("its header is not that of a little-endian MATLAB 5 file")
    for kind, inside in _elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(inside, _LARGEST)
            ((kind, inside),) = _elements(memoryview(unpacked))
        if kind != _MATRIX:
            raise ValueError(f"it holds an element of kind {kind}")
        _, (_, shape), (_, name), (numbers_kind, numbers), *_ = _elements(inside)
        sizes = np.frombuffer(shape, dtype="<i4")
        yield bytes(name).decode("ascii"), np.frombuffer(numbers, _NUMBERS[numbers_kind]).reshape(sizes, order="F")


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of each element of a MATLAB 5 file; small ones hold their content in half of a tag."""
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from("<II", content, at)
        if small := kind >> 16:
            kind, length = kind & 0xFFFF, small
        start = at + (4 if small else 8)
        if start + length > len(content):
            raise ValueError("it ends too early")
        yield kind, content[start : start + length]
        at = start + length
        if kind != _COMPRESSED:
            at += -at % 8
