"""CIFAR-10 and CIFAR-100 from their binary versions; the Python versions are pickles, which are never read.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", technical report, University of
Toronto; https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.archives.members import Bounds, tar_members
from membrane.data.examples import Examples
from membrane.data.source import Splits

_HOME = "https://www.cs.toronto.edu/~kriz"
_PIXELS = 3 * 32 * 32
_BOUNDS = Bounds(member=160_000_000, total=200_000_000, members=30)


@dataclass(frozen=True)
class CIFAR10(Archive):
    """CIFAR-10 from ``cifar-10-binary.tar.gz``: 50 000 and 10 000 images of 32x32 in 10 classes.

    Args:
        path: The archive, or the folder where it lies.
    """

    name: ClassVar[str] = "cifar10"
    originals: ClassVar[tuple[Original, ...]] = (
        Original(
            "cifar-10-binary.tar.gz",
            f"{_HOME}/cifar-10-binary.tar.gz",
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )

    def read(self) -> Splits:
        """Train and test split, uint8 (N, 3, 32, 32)."""
        batches = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)]
        names = "cifar-10-batches-bin/batches.meta.txt"
        return _splits(self, batches, "cifar-10-batches-bin/test_batch.bin", names, "CIFAR-10")


@dataclass(frozen=True)
class CIFAR100(Archive):
    """CIFAR-100 from ``cifar-100-binary.tar.gz``: 50 000 and 10 000 images of 32x32 in 100 classes.

    Args:
        path: The archive, or the folder where it lies.
        labels: "fine" for 100 classes, "coarse" for 20.
    """

    name: ClassVar[str] = "cifar100"
    originals: ClassVar[tuple[Original, ...]] = (
        Original(
            "cifar-100-binary.tar.gz",
            f"{_HOME}/cifar-100-binary.tar.gz",
            "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    )

    labels: Literal["fine", "coarse"] = "fine"

    def read(self) -> Splits:
        """Train and test split, uint8 (N, 3, 32, 32)."""
        names, label = f"cifar-100-binary/{self.labels}_label_names.txt", ("coarse", "fine").index(self.labels)
        train, test = "cifar-100-binary/train.bin", "cifar-100-binary/test.bin"
        return _splits(self, [train], test, names, "CIFAR-100", n_labels=2, label=label)


def _splits(
    source: Archive, train: list[str], test: str, names: str, title: str, *, n_labels: int = 1, label: int = 0
) -> Splits:
    """Both splits; a record is ``n_labels`` bytes of labels, of which one is taken, and the pixels."""
    members = _members(source, {*train, test, names})
    classes = tuple(line for line in members[names].decode().splitlines() if line)
    return Splits(
        *(
            _examples(b"".join(members[name] for name in files), classes, title, n_labels, label, files[0])
            for files in (train, [test])
        )
    )


def _members(source: Archive, wanted: set[str]) -> Mapping[str, bytes]:
    with source.opened(source.originals[0]) as content:
        found = {name: stream.read() for name, stream in tar_members(content, _BOUNDS) if name in wanted}
    if absent := sorted(wanted - set(found)):
        raise DataError(f"{source.path} lacks {absent}; give the binary version, as published.")
    return found


def _examples(records: bytes, classes: tuple[str, ...], title: str, n_labels: int, label: int, where: str) -> Examples:
    if not records or len(records) % (n_labels + _PIXELS):
        raise DataError(f"{where} has {len(records):,} bytes; records have {n_labels + _PIXELS} each.")
    table = torch.from_numpy(np.frombuffer(records, dtype=np.uint8).reshape(-1, n_labels + _PIXELS).copy())
    return Examples(table[:, n_labels:].reshape(-1, 3, 32, 32), table[:, label].long(), classes, title)
