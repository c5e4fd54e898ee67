"""Purchase100, Texas100 and Location30: binary records as text, in the form given to them for membership inference.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820;
https://github.com/privacytrustlab/datasets. The digests name the blobs in that repository (commit 169de9d). The
layout of Location30 was checked on the published file, the others follow programs that read them. No split is
published; ours is random.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.archives.members import Bounds, tar_members
from membrane.data.examples import Examples
from membrane.data.source import Splits, refuse_share, split_off

_HOME = "https://github.com/privacytrustlab/datasets/raw/master"
_BOUNDS = Bounds(member=1_000_000_000, total=2_000_000_000, members=100)
_LONGEST = 20_000  # bytes of a line
_MOST_CLASSES = 1_000

Bits = np.ndarray[Any, np.dtype[np.uint8]]


def _original(name: str, blob: str) -> Original:
    return Original(f"dataset_{name}.tgz", f"{_HOME}/dataset_{name}.tgz", f"git:{blob}")


@dataclass(frozen=True)
class Records(Archive):
    """Base class: lines of a class from 1 and 0/1 features; or the classes in a file of their own.

    Args:
        path: The archive, or the folder where it lies.
        test: Share of the test split.
        seed: Of the split.
    """

    title: ClassVar[str]
    features: ClassVar[str]
    labels: ClassVar[str | None] = None

    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_share(self.test, self.name)

    def read(self) -> Splits:
        """Train and test split, uint8 (N, D), all 0 or 1."""
        rows: dict[str, tuple[list[int], list[Bits]]] = {}
        with self.opened(self.originals[0]) as content:
            for name, stream in tar_members(content, _BOUNDS):
                if name in (self.features, self.labels):
                    rows[name] = _rows(_lines(stream, name), name, labelled=self.labels is None or name == self.labels)
        if absent := sorted({self.features, self.labels or self.features} - set(rows)):
            raise DataError(f"{self.path} lacks {absent}; give the archive as published.")
        labels, bits = rows[self.labels or self.features][0], rows[self.features][1]
        if len(labels) != len(bits) or len(bits) < 2:
            raise DataError(
                f"{self.path} holds {len(bits):,} records and {len(labels):,} labels; there must be as many, 2 or more."
            )
        classes = tuple(str(i + 1) for i in range(max(labels)))
        x, y = torch.from_numpy(np.stack(bits)), torch.tensor(labels) - 1
        return split_off(Examples(x, y, classes, self.title), self.test, self.seed)


@dataclass(frozen=True)
class Purchase100(Records):
    """Purchase100 from ``dataset_purchase.tgz``: 197 324 customers, 600 products bought or not, 100 classes.

    Args:
        path: The archive, or the folder where it lies.
        test: Share of the test split.
        seed: Of the split.
    """

    name: ClassVar[str] = "purchase100"
    originals: ClassVar[tuple[Original, ...]] = (_original("purchase", "3efa7476ad5ed7ac3e558d28585a186b38fc5f19"),)
    title: ClassVar[str] = "Purchase100"
    features: ClassVar[str] = "dataset_purchase"


@dataclass(frozen=True)
class Texas100(Records):
    """Texas100 from ``dataset_texas.tgz``: 67 330 hospital stays, 6 169 facts true or not, 100 procedures.

    Args:
        path: The archive, or the folder where it lies.
        test: Share of the test split.
        seed: Of the split.
    """

    name: ClassVar[str] = "texas100"
    originals: ClassVar[tuple[Original, ...]] = (_original("texas", "966f7ff40b24cf5912ff84759aab9adb8c25f30e"),)
    title: ClassVar[str] = "Texas100"
    features: ClassVar[str] = "texas/100/feats"
    labels: ClassVar[str | None] = "texas/100/labels"


@dataclass(frozen=True)
class Location30(Records):
    """Location30 from ``dataset_location.tgz``: 5 010 people, 446 places visited or not, 30 classes.

    Args:
        path: The archive, or the folder where it lies.
        test: Share of the test split.
        seed: Of the split.
    """

    name: ClassVar[str] = "location30"
    originals: ClassVar[tuple[Original, ...]] = (_original("location", "0cfc2caa0c8c8569cd68a5d4ab369a98c1f98447"),)
    title: ClassVar[str] = "Location30"
    features: ClassVar[str] = "bangkok"


def _lines(stream: IO[bytes], name: str) -> Iterable[bytes]:
    while line := stream.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise DataError(f"{name} has a line of {_LONGEST:,} bytes or more; that is no published data set.")
        if line.strip():
            yield line.strip()


def _rows(lines: Iterable[bytes], name: str, *, labelled: bool) -> tuple[list[int], list[Bits]]:
    """Labels (if ``labelled``) and 0/1 features of each line."""
    labels: list[int] = []
    bits: list[Bits] = []
    for row, line in enumerate(lines):
        label, _, rest = line.partition(b",") if labelled else (b"", b"", line)
        if labelled:
            text = label.strip(b'"')
            if not text.isdigit() or not 1 <= int(text[:9]) <= _MOST_CLASSES:
                raise DataError(f"{name}, row {row}: the label is {label[:20]!r}; labels are whole numbers from 1.")
            labels.append(int(text))
        signs = np.frombuffer(rest, dtype=np.uint8)
        one = signs[::2] - ord("0")
        if rest and (len(signs) % 2 == 0 or (one > 1).any() or (signs[1::2] != ord(",")).any()):
            raise DataError(f"{name}, row {row}: features are not 0 and 1 with commas between them.")
        if bits and len(one) != len(bits[0]):
            raise DataError(f"{name}, row {row}: there are {len(one)} features, in the rows before {len(bits[0])}.")
        bits.append(one)
    return labels, bits
