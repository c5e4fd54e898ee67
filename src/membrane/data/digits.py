"""Handwritten digits that ship with scikit-learn: real data, 1797 images of 8x8 pixels, no download.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.data.examples import Examples, class_names
from membrane.data.source import Source, Splits


@dataclass(frozen=True)
class Digits(Source):
    """scikit-learn's digits, one channel, in a fixed random order.

    Args:
        test: Images in the test split; the rest is the train split.
    """

    name: ClassVar[str] = "digits"

    test: int = 400

    def __post_init__(self) -> None:
        if not 1 <= self.test < 1797:
            raise SettingError(f"digits: test is {self.test}; the 1797 images must be split into two parts.")

    def load(self) -> Splits:
        """Train and test split, uint8 (N, 1, 8, 8)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * 255 / 16).astype(np.uint8)[:, None]
        order = np.random.default_rng(0).permutation(len(pixels))  # the same split for everybody
        x, y = torch.from_numpy(pixels[order]), torch.from_numpy(digits.target[order].astype(np.int64))
        examples = Examples(x, y, class_names(10), "scikit-learn digits")
        return Splits(examples[self.test :], examples[: self.test])
