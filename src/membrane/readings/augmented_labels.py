"""Labels of augmented images: whether the model still knows an example that was moved or turned a little.

Source: Choquette-Choo et al. 2021, "Label-Only Membership Inference Attacks", arXiv:2007.14321, and the authors' code:
rotations by whole degrees from -r to r (cubic splines, zeros from outside), or shifts by as many pixels in all as d
(the edge repeated), the image itself among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError, raise_all
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import as_inputs
from membrane.readings.labels import labels_of
from membrane.readings.reading import Reading, Reveals

Augmentation = Literal["rotations", "shifts"]
_PIECE = 1024  # images at a time


@dataclass(frozen=True)
class AugmentedLabels(Reading):
    """1.0 where the model calls an augmented image by its label, else 0.0; K is 2 ``reach`` + 1, or 4 ``reach`` + 1.

    Args:
        by: "rotations" by up to ``reach`` degrees to either side, or "shifts" by ``reach`` pixels up or down plus to
            either side.
        reach: 1 or more.

    Raises:
        SettingError: If a setting is none of these.
    """

    name: ClassVar[str] = "augmented_labels"
    threat_model: ClassVar[Reveals] = "labels"

    by: Augmentation = "shifts"
    reach: int = 1

    def __post_init__(self) -> None:
        mistakes = []
        if self.by not in get_args(Augmentation):
            mistakes.append(f"by is {self.by!r}; it must be one of {', '.join(get_args(Augmentation))}.")
        if self.reach < 1:
            mistakes.append(f"reach is {self.reach}; it must be 1 or more (degrees, or pixels).")
        raise_all(mistakes, SettingError)

    @property
    def queries(self) -> int:
        return (2 if self.by == "rotations" else 4) * self.reach + 1

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        if pool.x.ndim != 4:
            return [f"only images can be moved or turned; inputs are {tuple(pool.x.shape[1:])}. Use 'label_noise'."]
        if self.by == "shifts" and self.reach >= min(pool.x.shape[2:]):
            return [f"reach is {self.reach}, and images are {' x '.join(map(str, pool.x.shape[2:]))} pixels."]
        return []

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        found = np.empty((len(examples), self.queries), dtype=np.float32)
        start = 0
        for piece in pieces(examples.x, _PIECE):
            y = examples.y[start : start + len(piece)]
            for column, images in enumerate(self.augmented(as_inputs(piece))):
                found[start : start + len(piece), column] = (labels_of(model, images) == y).numpy()
            start += len(piece)
        return found

    def augmented(self, x: Tensor) -> Iterator[Tensor]:
        """Images (N, C, H, W) in each of the K ways."""
        if self.by == "rotations":
            yield from (rotated(x, float(degrees)) for degrees in range(-self.reach, self.reach + 1))
            return
        for down in range(-self.reach, self.reach + 1):
            right = self.reach - abs(down)
            yield from (shifted(x, down, one) for one in sorted({-right, right}))
        yield x


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Images (N, C, H, W) moved by whole pixels, the edge repeated."""
    rows, columns = ((torch.arange(n) - by).clamp(0, n - 1) for n, by in zip(x.shape[2:], (down, right), strict=True))
    return x[:, :, rows][..., columns]


def rotated(x: Tensor, degrees: float) -> Tensor:
    """Images (N, C, H, W) turned about their middle, interpolated by cubic splines, zeros from outside."""
    from scipy.ndimage import rotate  # not before it is needed: it takes a while

    turned: npt.NDArray[np.float32] = rotate(x.cpu().numpy(), degrees, axes=(2, 3), reshape=False)
    return torch.from_numpy(turned)
