"""Street View House Numbers, cropped digits, from MATLAB files.

Source: Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning";
http://ufldl.stanford.edu/housenumbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError
from membrane.data.archives.archive import Archive, Original
from membrane.data.examples import Examples, class_names
from membrane.data.source import Splits

_HOME = "http://ufldl.stanford.edu/housenumbers"
_MOST = 100_000


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
    from scipy.io import loadmat, whosmat

    try:
        held = {name: (shape, kind) for name, shape, kind in whosmat(content)}
        n = held["X"][0][3]
        fits = held["X"] == ((32, 32, 3, n), "uint8") and held["y"][0] == (n, 1) and held["y"][1] in ("uint8", "double")
        if not fits or not 1 <= n <= _MOST:
            raise DataError(f"{where} holds {held}; X must be uint8 (32, 32, 3, N) and y (N, 1), N at most {_MOST:,}.")
        content.seek(0)
        table = loadmat(content, variable_names=["X", "y"])
    except DataError:
        raise
    except Exception as problem:  # scipy raises whatever a damaged file makes of it
        raise DataError(f"{where} is no MATLAB file of images X and labels y ({problem}).") from problem
    x = torch.from_numpy(np.ascontiguousarray(table["X"].transpose(3, 2, 0, 1)))
    y = torch.from_numpy(table["y"].astype(np.int64).ravel() % 10)
    return Examples(x, y, class_names(10), "SVHN")
