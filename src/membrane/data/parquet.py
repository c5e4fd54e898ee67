"""Parquet files of encoded images, as Hugging Face writes them, decoded into memory."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError
from membrane.data.examples import Examples, class_names
from membrane.data.source import Source, Splits

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST = 4096 * 4096  # pixels of one image; a bigger one in a training set is a decompression bomb

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Parquet(Source):
    """Encoded images (PNG, JPEG) in a parquet file with columns for image, label and split.

    The image column holds bytes, or a struct with a ``bytes`` field. Class names are read from the
    schema's metadata (``classes``, one a line, or Hugging Face's feature description) where present.

    Args:
        path: The file.
        image: Name of the image column.
        label: Name of the label column, whole numbers from 0.
        split: Name of the split column; its values must include "train" and "test".
    """

    name: ClassVar[str] = "parquet"

    path: str
    image: str = "image"
    label: str = "label"
    split: str = "split"

    def load(self) -> Splits:
        """Train and test split, images as uint8 (N, 3, height, width).

        Raises:
            DataError: If the file is missing, truncated, lacks a column, or an image cannot be decoded.
        """
        table = self._table()
        split = np.asarray(table.column(self.split).to_pylist(), dtype=object)
        missing = {"train", "test"} - set(split)
        if missing:
            there = sorted(map(str, set(split)))
            raise DataError(f"{self.path}: no rows with {self.split} = {sorted(missing)}; there are {there}.")
        y = _labels(table.column(self.label).to_pylist(), self.path)
        x = torch.from_numpy(_decode(table.column(self.image).to_pylist(), self.path))
        classes = class_names(int(y.max()) + 1, _class_names(table.schema, self.label))
        examples = Examples(x, y, classes, Path(self.path).stem)
        return Splits(*(examples[torch.from_numpy(np.flatnonzero(split == part))] for part in ("train", "test")))

    def _table(self) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [self.image, self.label, self.split]
        try:
            names = pq.read_schema(self.path).names
            missing = [column for column in columns if column not in names]
            if missing:
                raise DataError(f"{self.path} has no column {missing}; it has {names}. Name them in the data settings.")
            table = pq.read_table(self.path, columns=columns)
        except FileNotFoundError as problem:
            raise DataError(f"there is no file {self.path}. Give the path of a parquet file of images.") from problem
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"{self.path} is not a whole parquet file ({problem}); download it again.") from problem
        if not table.num_rows:
            raise DataError(f"{self.path} has no rows.")
        return table


def _labels(values: Sequence[Any], path: str) -> torch.Tensor:
    wrong = [row for row, value in enumerate(values) if not isinstance(value, int) or isinstance(value, bool)]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} labels are not whole numbers, the first is {values[wrong[0]]!r} in row {wrong[0]}. "
            "Labels are class indices from 0."
        )
    return torch.tensor(values, dtype=torch.int64)


def _decode(images: Sequence[Any], path: str) -> Pixels:
    decoded: Pixels | None = None
    for row, value in enumerate(images):
        pixels = _pixels(value.get("bytes") if isinstance(value, dict) else value, f"{path}, row {row}")
        if decoded is None:
            decoded = np.empty((len(images), 3, *pixels.shape[:2]), dtype=np.uint8)
        if pixels.shape[:2] != decoded.shape[2:]:
            raise DataError(
                f"{path}, row {row}: the image is {pixels.shape[1]}x{pixels.shape[0]}, the ones before "
                f"{decoded.shape[3]}x{decoded.shape[2]}. Resize all to one size first."
            )
        decoded[row] = pixels.transpose(2, 0, 1)
    assert decoded is not None
    return decoded


def _pixels(content: Any, where: str) -> Pixels:  # noqa: ANN401 -- whatever the column holds
    """RGB pixels (height, width, 3) of one encoded image."""
    from PIL import Image

    if not isinstance(content, bytes):
        raise DataError(f"{where}: the image is {type(content).__name__}, not bytes. Embed the images in the file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, at less than it takes
            image = Image.open(io.BytesIO(content))
        with image:
            if image.width * image.height > _LARGEST:
                raise DataError(f"{where}: the image has {image.width}x{image.height} pixels; too large.")
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except Exception as problem:  # decoders raise whatever a broken image makes of them
        raise DataError(f"{where}: the image cannot be decoded ({problem}). Remove or repair it.") from problem


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Names from the file's own ``classes``, else from Hugging Face's description of the label column."""
    metadata = schema.metadata or {}
    if classes := metadata.get(b"classes"):
        lines: list[str] = classes.decode().splitlines()
        return lines
    try:
        names = json.loads(metadata.get(b"huggingface", b""))["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None  # no description, or of another form: classes are numbered
    return [str(name) for name in names] if isinstance(names, list) else None
