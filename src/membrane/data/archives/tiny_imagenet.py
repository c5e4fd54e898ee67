"""Tiny ImageNet from its zip.

Source: Stanford CS231n, a part of ImageNet (Deng et al. 2009) at 64x64; http://cs231n.stanford.edu.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.archives.members import Bounds, zip_members
from membrane.data.examples import Examples
from membrane.data.images import Form, decode
from membrane.data.source import Splits

_ROOT = "tiny-imagenet-200"
_TRAIN = re.compile(rf"{_ROOT}/train/(n\d+)/images/[^/]+\.JPEG")
_BOUNDS = Bounds(member=4_000_000, total=600_000_000, members=130_000)


@dataclass(frozen=True)
class TinyImageNet(Archive):
    """Tiny ImageNet from ``tiny-imagenet-200.zip``: 100 000 and 10 000 images of 64x64 in 200 classes.

    The published validation split is the test split; the published test split has no labels. Classes are numbered in
    the order of their WordNet ids and carry the first of their words.

    Args:
        path: The archive, or the folder where it lies.
        size: Side in pixels that images are scaled to; 64 if None.
    """

    name: ClassVar[str] = "tiny_imagenet"
    originals: ClassVar[tuple[Original, ...]] = (
        Original(
            "tiny-imagenet-200.zip",
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
        ),
    )

    size: int | None = None

    def __post_init__(self) -> None:
        Form(self.size)

    def read(self) -> Splits:
        """Train and test split, uint8 (N, 3, size, size)."""
        with self.opened(self.originals[0]) as content:
            archive, members = zip_members(content, _BOUNDS)
            with archive:
                texts = _texts(archive, members, self.path)
                ids = sorted(texts["wnids.txt"].split())
                words = dict(line.split("\t", 1) for line in texts["words.txt"].splitlines() if "\t" in line)
                classes = tuple(words.get(one, one).split(",")[0] for one in ids)
                train = {name: found[1] for name in members if (found := _TRAIN.fullmatch(name))}
                rows = (line.split("\t") for line in texts["val/val_annotations.txt"].splitlines())
                test = {f"{_ROOT}/val/images/{row[0]}": row[1] for row in rows if len(row) > 1}
                return Splits(*(self._examples(archive, members, part, ids, classes) for part in (train, test)))

    def _examples(
        self,
        archive: zipfile.ZipFile,
        members: Mapping[str, zipfile.ZipInfo],
        part: Mapping[str, str],
        ids: list[str],
        classes: tuple[str, ...],
    ) -> Examples:
        wrong = [name for name, one in part.items() if name not in members or one not in ids]
        if wrong or not part:
            first = f", the first {wrong[0]}" if wrong else ""
            raise DataError(f"{self.path}: {len(wrong):,} of {len(part):,} images lack a file or a class{first}.")
        named = ((name, archive.read(members[name])) for name in part)
        x = decode(named, len(part), Form(self.size, side=64))
        y = torch.tensor([ids.index(one) for one in part.values()])
        return Examples(torch.from_numpy(x), y, classes, "Tiny ImageNet")


def _texts(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: str) -> dict[str, str]:
    wanted = ("wnids.txt", "words.txt", "val/val_annotations.txt")
    if absent := [name for name in wanted if f"{_ROOT}/{name}" not in members]:
        raise DataError(f"{path} lacks {absent} in {_ROOT}; give the archive as published.")
    return {name: archive.read(members[f"{_ROOT}/{name}"]).decode() for name in wanted}
