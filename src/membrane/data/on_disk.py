"""Another source's data as plain arrays on disk: decoded once, then read as needed, so that memory does not bound them.

A folder holds the inputs in ``x-00000.npy``, ``x-00001.npy``, ..., labels and splits in ``labels.safetensors``, and,
written last, ``data.json`` with the SHA-256 of all of these. Each file is written whole or not at all; killed at any
moment, the next call goes on after the last whole one.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from membrane.core.errors import DataError, StoreError, raise_all
from membrane.core.files import alone, write_bytes
from membrane.core.progress import Progress, silent
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import read_json, read_tensors, write_json, write_tensors
from membrane.data.examples import Examples
from membrane.data.inputs import Npy, refuse_infinite, rows_of
from membrane.data.listing import Listing
from membrane.data.source import Source, Splits, matches

_FILE = 1 << 26  # bytes of inputs in one file
_SPARE = 1 << 26  # bytes that stay free on the disk
_PARTS = ("y", "train", "test")


@dataclass(frozen=True)
class OnDisk(Source):
    """Another source's data, decoded into a folder once and read from there, for data larger than memory.

    Same examples, same checksum, same trained bits as from memory. The other source decodes a few images at a time if
    it is ``parquet`` or ``image_folder``; any other is loaded whole, once. ``unique`` and ``long_tail`` go around this
    one, not inside it. Once the folder is finished, the other source's files may be deleted.

    Args:
        folder: Where the arrays lie, or shall lie; inputs take one byte a pixel and channel, four a feature.
        of: The other source.
    """

    name: ClassVar[str] = "on_disk"
    paths: ClassVar[tuple[str, ...]] = ("folder",)

    folder: str
    of: Source

    def load(self) -> Splits:
        """Both splits, inputs on disk; decoded first where that is not done.

        Raises:
            DataError: As the other source does; or if the folder was made from other data, or is damaged.
            StoreError: If the folder cannot be written or read, or the disk has too little room.
        """
        self.prepare()
        return opened(self.folder)

    def missing(self) -> list[str]:
        """What the other source misses, if it is still needed."""
        return [] if os.path.isfile(self._finished) else self.of.missing()  # no path makes it raise

    def prepare(self, progress: Progress = silent) -> None:
        """Decode into the folder what is not there yet.

        Args:
            progress: Told how many examples lie there.

        Raises:
            DataError: As the other source does; or if the folder was made from other data.
            StoreError: If the folder cannot be written, or the disk has too little room.
        """
        folder = Path(self.folder)
        with alone(self._finished):
            if self._finished.is_file() and self.of.missing():
                return
            made_of = _stamp(self.of)
            for file in (self._finished, folder / "unfinished.json"):
                if file.is_file():
                    self._refuse_other(file, made_of)
            if self._finished.is_file():
                return
            write_json(folder / "unfinished.json", {"made_of": made_of})
            listing = self.of.listing()
            files = [file.sha256() for file in _written(listing, folder, progress)]
            index = torch.arange(len(listing.y))
            labels = {"y": listing.y, "train": index[listing.train], "test": index[listing.test]}
            facts = {"made_of": made_of, "classes": listing.classes, "title": listing.title, "files": files}
            write_json(self._finished, facts | {"labels": write_tensors(folder / "labels.safetensors", labels)})
            with suppress(OSError):  # an idle file, no more
                (folder / "unfinished.json").unlink()

    @property
    def _finished(self) -> Path:
        return Path(self.folder) / "data.json"

    def _refuse_other(self, file: Path, made_of: str) -> None:
        facts = read_json(file)
        if not isinstance(facts, dict) or facts.get("made_of") != made_of:
            raise DataError(
                f"{self.folder} was made from other files or settings than data.of has now. Delete it to decode again, "
                "or name another folder."
            )


def opened(folder: str | os.PathLike[str]) -> Splits:
    """Both splits out of a folder that ``OnDisk`` has finished, every file compared with its checksum.

    Raises:
        StoreError: If it is not finished, or was altered since.
        DataError: If what it holds are no two splits.
    """
    folder = Path(folder)
    facts = _described(folder / "data.json")
    files = [Npy.opened(folder / _name(i)) for i in range(len(facts["files"]))]
    raise_all(
        (
            f"{file.path} was altered or damaged after it was written. Delete the folder to decode again."
            for file, checksum in zip(files, facts["files"], strict=True)
            if file.sha256() != checksum
        ),
        StoreError,
    )
    x = rows_of(files)
    refuse_infinite(x, str(folder))
    labels = read_tensors(folder / "labels.safetensors", facts["labels"])
    fits = all(_is_index(labels.get(part)) for part in _PARTS)
    if not fits or any(int(labels[p].min()) < 0 or int(labels[p].max()) >= len(x) for p in ("train", "test")):
        raise DataError(f"{folder / 'labels.safetensors'} does not hold labels and splits of {len(x):,} examples.")
    whole = Examples(x, labels["y"], tuple(facts["classes"]), facts["title"])
    return Splits(whole[labels["train"]], whole[labels["test"]])


def _described(path: Path) -> dict[str, Any]:
    """Title, classes and checksums of a finished folder."""
    facts = read_json(path)
    if (
        not isinstance(facts, dict)
        or not all(isinstance(facts.get(key), str) for key in ("title", "labels"))
        or not all(isinstance(facts.get(key), list) and facts[key] for key in ("classes", "files"))
        or not all(isinstance(item, str) for key in ("classes", "files") for item in facts[key])
    ):
        raise StoreError(f"{path} does not describe data on disk. Move its folder away.")
    return facts


def _is_index(values: Tensor | None) -> bool:
    return values is not None and values.dtype == torch.int64 and values.ndim == 1 and len(values) > 0


def _name(number: int) -> str:
    return f"x-{number:05}.npy"


def _written(listing: Listing, folder: Path, progress: Progress) -> Iterator[Npy]:
    """Every file of inputs, in order: those that lie there whole, then those that are written now."""
    n, first = len(listing.y), next(listing.blocks(0, 1))
    rows = max(_FILE // first.nbytes, 1)
    starts = range(0, n, rows)
    done = 0
    for number, start in enumerate(starts):
        try:
            file = Npy.opened(folder / _name(number))
        except DataError:
            break
        if file.shape != (min(rows, n - start), *first.shape[1:]) or file.dtype != first.dtype:
            break
        done = min(start + rows, n)
        yield file
        progress("decode", done, n)
    if done == n:
        return
    _refuse_full(folder, (n - done) * first.nbytes)
    for number, block in enumerate(listing.blocks(done, rows), start=done // rows):
        if block.shape[1:] != first.shape[1:]:
            raise DataError(
                f"inputs {done:,} and following are {tuple(block.shape[1:])}, the first is {tuple(first.shape[1:])}. "
                "Set size, or resize all to one size first."
            )
        content = io.BytesIO()
        np.save(content, block.contiguous().numpy(), allow_pickle=False)
        write_bytes(folder / _name(number), content.getvalue())
        done += len(block)
        yield Npy.opened(folder / _name(number))
        progress("decode", done, n)


def _refuse_full(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes + _SPARE > free:
        raise StoreError(
            f"the inputs take {n_bytes:,} bytes in {folder}, and {free:,} are free there. Free some, name another "
            "folder, or set a smaller size."
        )


def _stamp(source: Source) -> str:
    """Changes with a source's settings and with names, sizes and times of the files that it reads, not with where."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(source):
        value = getattr(source, field.name)
        if field.name not in source.paths:
            settings[field.name] = _stamp(value) if isinstance(value, Source) else to_plain(value)
    files = []
    for file in sorted({file for path in source.each_path() for one in matches(path) for file in _files_at(one)}):
        with suppress(OSError):
            state = os.stat(file)
            files.append([os.path.basename(file), state.st_size, state.st_mtime_ns])
    return fingerprint({"name": source.name, "settings": settings, "files": files})


def _files_at(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
    for folder, _, names in os.walk(path):
        yield from (os.path.join(folder, name) for name in names)
