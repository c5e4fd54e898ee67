"""CINIC-10 from its archive.

Source: Darlow et al. 2018, "CINIC-10 is not ImageNet or CIFAR-10", arXiv:1810.03505;
https://datashare.ed.ac.uk/handle/10283/3192.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.archives.members import Bounds, tar_members
from membrane.data.examples import Examples
from membrane.data.images import Form, decode
from membrane.data.source import Splits

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IMAGE = re.compile(rf"(train|valid|test)/({'|'.join(_CLASSES)})/[^/]+\.png")
_BOUNDS = Bounds(member=10_000_000, total=1_500_000_000, members=280_000)


@dataclass(frozen=True)
class CINIC10(Archive):
    """CINIC-10 from ``CINIC-10.tar.gz``: 90 000 images each to train, to validate and to test on, 32x32, 10 classes.

    A third of the images are CIFAR-10's, of both of its splits.

    Args:
        path: The archive, or the folder where it lies.
        valid: What becomes of the validation split: "drop", or "train" to add it to the train split.
    """

    name: ClassVar[str] = "cinic10"
    originals: ClassVar[tuple[Original, ...]] = (
        Original(
            "CINIC-10.tar.gz",
            "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
            "md5:6ee4d0c996905fe93221de577967a372",
        ),
    )

    valid: Literal["drop", "train"] = "drop"

    def read(self) -> Splits:
        """Train and test split, uint8 (N, 3, 32, 32)."""
        found: list[tuple[str, str]] = []
        x = torch.from_numpy(decode(self._images(found), _BOUNDS.members, Form(side=32)))[: len(found)]
        y = torch.tensor([_CLASSES.index(label) for _, label in found])
        test = torch.tensor([part == "test" for part, _ in found], dtype=torch.bool)
        if test.all() or not test.any():
            raise DataError(f"{self.path} lacks train or test images; give the archive as published.")
        return Splits(*(Examples(x[part], y[part], _CLASSES, "CINIC-10") for part in (~test, test)))

    def _images(self, found: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
        """Every image that is wanted; split and class of each go into ``found``."""
        with self.opened(self.originals[0]) as content:
            for name, stream in tar_members(content, _BOUNDS):
                if (image := _IMAGE.fullmatch(name)) and (image[1] != "valid" or self.valid == "train"):
                    found.append((image[1], image[2]))
                    yield name, stream.read()
        if not found:
            raise DataError(f"{self.path} holds no images; give the archive as published.")
