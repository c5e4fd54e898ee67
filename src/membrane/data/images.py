"""Encoded images to pixels of one size: whatever is broken is named, all of it at once."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from membrane.core.errors import DataError, OutOfMemoryError, SettingError, collected, raise_all

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # none of them starts another program
LARGEST = 4096 * 4096  # pixels of one image; a bigger one in a training set is a decompression bomb
_LISTED = 20
_MOST_MISTAKES = 10_000

Colour = Literal["rgb", "grey"]
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Form:
    """What every image becomes. Transparency is dropped; of an animation the first picture is taken.

    Args:
        size: Side in pixels: the shorter side is scaled to it (bicubic) and the middle square kept. None keeps
            images as they are, which must then be of one size.
        colour: "rgb" for three channels, "grey" for one.
        side: Width and height that every image must come with, where that is known.
    """

    size: int | None = None
    colour: Colour = "rgb"
    side: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size**2 <= LARGEST:
            raise SettingError(f"size is {self.size}; images have sides of 1 to {int(LARGEST**0.5)} pixels.")

    def of(self, image: Image.Image) -> Pixels:
        """Pixels (channels, height, width) of one image."""
        from PIL import Image, ImageOps

        if self.side is not None and image.size != (self.side, self.side):
            raise ValueError(f"{image.width}x{image.height} pixels where {self.side}x{self.side} were announced")
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"pixels of mode {image.mode}; save it with 8 bits a channel")
        image = image.convert("RGB" if self.colour == "rgb" else "L")
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode(named: Iterable[tuple[str, Any]], n: int, form: Form) -> Pixels:
    """Pixels (N, channels, height, width) of ``n`` images.

    Args:
        named: Where each image comes from, in words, and the image: encoded bytes, a path, or an image object.
        n: N, as many as ``named`` gives.
        form: What they become.

    Raises:
        DataError: Listing every image that is missing, broken, too large, or of another size than the first.
    """
    pixels: Pixels | None = None
    mistakes: list[str] = []
    for i, (where, content) in enumerate(named):
        one = None
        with collected(mistakes):
            one = pixels_of(content, where, form)
            if pixels is not None and one.shape != pixels.shape[1:]:
                raise DataError(
                    f"{where}: the image is {one.shape[2]}x{one.shape[1]}, the ones before "
                    f"{pixels.shape[3]}x{pixels.shape[2]}. Set size, or resize all to one size first."
                )
        if one is not None:
            pixels = _room(n, one.shape) if pixels is None else pixels
        if one is not None and one.shape == pixels.shape[1:]:
            pixels[i] = one
        if len(mistakes) >= _MOST_MISTAKES:
            break
    unseen = " at least; the rest was not looked at" if len(mistakes) >= _MOST_MISTAKES else ""
    more = [f"... and {len(mistakes) - _LISTED:,} more{unseen}."] if len(mistakes) > _LISTED else []
    raise_all(mistakes[:_LISTED] + more, DataError)
    assert pixels is not None  # no caller decodes nothing
    return pixels


def _room(n: int, shape: tuple[int, ...]) -> Pixels:
    try:
        return np.empty((n, *shape), dtype=np.uint8)
    except (MemoryError, ValueError) as problem:  # ValueError where no machine has so much
        size = f"{n * math.prod(shape):,} bytes"
        raise OutOfMemoryError(
            f"{n:,} images of {shape[2]}x{shape[1]} take {size} of memory, more than there is. Set a smaller size, or "
            'keep them on disk: data = { name = "on_disk", ... }.'
        ) from problem


def pixels_of(content: Any, where: str, form: Form) -> Pixels:  # noqa: ANN401 -- whatever somebody calls an image
    """Pixels (channels, height, width) of one image.

    The header is read first: what it calls larger than ``LARGEST`` is not unpacked.

    Raises:
        DataError: If it is no image, is broken, or is too large.
    """
    from PIL import Image

    if not isinstance(content, bytes | Path | Image.Image):
        raise DataError(f"{where}: the image is {type(content).__name__}, not bytes. Embed the images in the file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _opened(content) as image:
                if image.width * image.height > LARGEST:
                    raise DataError(f"{where}: the image has {image.width}x{image.height} pixels; too large.")
                return form.of(image)
    except DataError:
        raise
    except Exception as problem:  # decoders raise whatever a broken image makes of them
        raise DataError(f"{where}: the image cannot be decoded ({problem}). Remove or repair it.") from problem


def _opened(content: bytes | Path | Image.Image) -> AbstractContextManager[Image.Image]:
    """The image with its header read; closed afterwards unless it is the caller's own object."""
    from PIL import Image

    if isinstance(content, Image.Image):
        return nullcontext(content)
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)
