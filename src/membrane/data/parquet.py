"""Parquet files of encoded images, as Hugging Face writes them, decoded into memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from membrane.core.errors import DataError, collected, raise_all
from membrane.data.columns import values_of
from membrane.data.examples import class_names, refuse_large
from membrane.data.images import Colour, Form
from membrane.data.listing import Listing, decoded
from membrane.data.source import Paths, Source, Splits, fitting, matches

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1024  # decoded at a time
_VALIDATION = ("validation", "valid", "val")
_SPLITS = ("train", "test", *_VALIDATION)
_SPLIT_NAME = re.compile(rf"(?:^|[^a-z])({'|'.join(_SPLITS)})(?=[^a-z]|$)")


@dataclass(frozen=True)
class Parquet(Source):
    """Encoded images (PNG, JPEG) in one or several parquet files with columns for image and label.

    The image column holds bytes, or a struct with a ``bytes`` field. Which split a row belongs to says, in this order:
    ``test``, if given; the split column; the name of the file or of its folder (``train-00000-of-00002.parquet``,
    ``train/0000.parquet``), where a validation split stands in if there is no test split. Class names are read from
    the schema's metadata (``classes``, one a line, or Hugging Face's feature description) where present.

    Args:
        path: A file, a folder of parquet files, a pattern such as ``data/*.parquet``, or a list of these.
        image: Name of the image column.
        label: Name of the label column, whole numbers from 0.
        split: Name of the split column; its values must include "train" and "test".
        test: The same as ``path`` for the test split; ``path`` is the train split alone then.
        size: Side in pixels that images are scaled and cropped to; None: they must be of one size already.
        colour: "rgb" for three channels, "grey" for one.
    """

    name: ClassVar[str] = "parquet"
    paths: ClassVar[tuple[str, ...]] = ("path", "test")

    path: Paths
    image: str = "image"
    label: str = "label"
    split: str = "split"
    test: Paths = ()
    size: int | None = None
    colour: Colour = "rgb"

    def __post_init__(self) -> None:
        Form(self.size, self.colour)

    def load(self) -> Splits:
        """Train and test split, images as uint8 (N, channels, height, width).

        Raises:
            DataError: If a file is missing, truncated or lacks a column, or an image cannot be decoded.
        """
        return Splits(*self.listing().in_memory())

    def listing(self) -> Listing:
        """The same, images read from their files and decoded when asked for.

        Raises:
            DataError: If a file is missing, truncated or lacks a column.
        """
        with fitting(self._where, "Give fewer files or rows."):
            return self._listing(self._shards())

    def _listing(self, shards: Sequence[_Shard]) -> Listing:
        split = np.concatenate([shard.split for shard in shards])
        missing = {"train", "test"} - set(split)
        if missing:
            there = sorted(map(str, set(split)))
            raise DataError(f"{self._where}: no rows with {self.split} = {sorted(missing)}; there are {there}.")
        used = np.isin(split, ("train", "test"))
        y = torch.cat([shard.labels() for shard in shards])
        refuse_large(y)
        classes = class_names(int(y.max()) + 1, _class_names(shards[0].schema, self.label))
        blocks = decoded(lambda: self._images(shards, used), int(used.sum()), Form(self.size, self.colour))
        train, test = (torch.from_numpy(np.flatnonzero(split[used] == part)) for part in ("train", "test"))
        return Listing(blocks, y[torch.from_numpy(used)], classes, self._title, train, test)

    def _shards(self) -> list[_Shard]:
        files = [(file, "train" if self.test else None) for file in _files(self.path)]
        files += [(file, "test") for file in _files(self.test)]
        shards = [_Shard(file) for file, _ in files]
        by_name = not self.test and not any(self.split in shard.schema.names for shard in shards) and _named(shards)
        for shard, (_, part) in zip(shards, files, strict=True):
            shard.read(self.label, self.image, None if part or by_name else self.split, part or shard.name_says)
        if by_name and "test" not in {shard.name_says for shard in shards}:
            for shard in shards:
                shard.split[np.isin(shard.split, _VALIDATION)] = "test"
        if not any(len(shard.split) for shard in shards):
            raise DataError(f"{self._where} has no rows.")
        return shards

    def _images(self, shards: Sequence[_Shard], used: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterator[tuple[str, Any]]:
        rows = (
            (f"{shard.file}, row {i}", value) for shard in shards for i, value in enumerate(shard.images(self.image))
        )
        return (one for one, wanted in zip(rows, used, strict=True) if wanted)

    @property
    def _where(self) -> str:
        return self.path if isinstance(self.path, str) else ", ".join(self.path)

    @property
    def _title(self) -> str:
        files = _files(self.path)
        return Path(files[0]).stem if len(files) == 1 else Path(files[0]).absolute().parent.name


class _Shard:
    """One file: schema, label and split of every row in memory, images read when asked for."""

    def __init__(self, file: str) -> None:
        import pyarrow.parquet as pq

        self.file = file
        self.split = np.empty(0, dtype=object)
        self._labels = np.empty(0, dtype=object)
        with _whole(file):
            told = pq.read_metadata(file)
            self.schema: pa.Schema = told.schema.to_arrow_schema()
            n_bytes = os.stat(file).st_size
        if told.num_rows > n_bytes:  # labels alone could unpack to more than memory holds
            raise DataError(
                f"{file} says that it holds {told.num_rows:,} rows in {n_bytes:,} bytes; an image takes "
                "one or more. Download it again."
            )

    @property
    def name_says(self) -> str | None:
        """The split that a word in the file's name, else its folder's whole name, tells."""
        path = Path(self.file)
        folder = path.parent.name.lower()
        in_name = _SPLIT_NAME.search(path.stem.lower())
        return in_name[1] if in_name else folder if folder in _SPLITS else None

    def read(self, label: str, image: str, split: str | None, part: str | None) -> None:
        """Labels, and the split by its column or, where there is none, as told."""
        import pyarrow.parquet as pq

        columns = [label, *((split,) if split else ())]
        absent = [column for column in (image, *columns) if column not in self.schema.names]
        if absent:
            raise DataError(
                f"{self.file} has no column {absent}; it has {self.schema.names}. Name them in the data settings"
                + (", or call the files train-... and test-...." if split in absent else ".")
            )
        with _whole(self.file):
            table = pq.read_table(self.file, columns=columns)
        self.split = np.full(table.num_rows, part, dtype=object)
        found: list[str] = []
        with collected(found, f"{self.file}: "):
            self._labels = values_of(table.column(label), label)
        with collected(found, f"{self.file}: "):
            self.split = values_of(table.column(split), split) if split else self.split
        raise_all(found, DataError)

    def labels(self) -> torch.Tensor:
        values = self._labels
        wrong = [
            row
            for row, value in enumerate(values)
            if not isinstance(value, int) or isinstance(value, bool) or value >= 2**63
        ]
        if wrong:
            raise DataError(
                f"{self.file}: {len(wrong)} labels are not whole numbers, the first is {values[wrong[0]]!r} in row "
                f"{wrong[0]}. Labels are class indices from 0."
            )
        return torch.from_numpy(values.astype(np.int64))

    def images(self, image: str) -> Iterator[Any]:
        import pyarrow.parquet as pq

        with _whole(self.file), pq.ParquetFile(self.file) as content:
            n = 0
            for rows in content.iter_batches(_ROWS, columns=[image]):
                n += len(rows)
                if n > len(self._labels):
                    break
                for value in rows.column(0).to_pylist():
                    yield value.get("bytes") if isinstance(value, dict) else value
        if n != len(self._labels):
            raise DataError(f"{self.file} does not hold as many images as labels; it is damaged. Download it again.")


def _files(paths: Paths) -> list[str]:
    """Files at the paths; of a folder, all parquet files in it and below, in order of names."""
    found: list[str] = []
    absent: list[str] = []
    for path in (paths,) if isinstance(paths, str) else paths:
        there = matches(path)
        files = [file for one in there for file in (_inside(one) if os.path.isdir(one) else [one])]
        found += files
        if not files:
            held = " with parquet files in it" if there else ""
            absent.append(f"there is no file {path}{held}. Give the path of a parquet file of images.")
    raise_all(absent, DataError)
    return list(dict.fromkeys(found))


def _inside(folder: str) -> list[str]:
    return sorted(str(file) for file in Path(folder).rglob("*.parquet") if file.is_file())


def _named(shards: Sequence[_Shard]) -> bool:
    """Whether every file's name tells its split; one file alone holds more than one split, or is of no use."""
    return len(shards) > 1 and all(shard.name_says for shard in shards)


@contextmanager
def _whole(file: str) -> Iterator[None]:
    """Say it plainly where a file cannot be read as parquet."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as problem:  # of texts that are no UTF-8, odd times
        raise DataError(f"{file} is not a whole parquet file ({problem}); download it again.") from problem


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Names from the file's own ``classes``, else from Hugging Face's description of the label column."""
    metadata = schema.metadata or {}
    if classes := metadata.get(b"classes"):
        lines: list[str] = classes.decode(errors="replace").splitlines()
        return lines
    try:
        names = json.loads(metadata.get(b"huggingface", b""))["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # no description, or of another form: classes are numbered
    return [str(name) for name in names] if isinstance(names, list) else None
