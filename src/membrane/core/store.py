"""A folder of finished things: tensors in safetensors, facts in JSON, written whole or not at all.

An entry is two files, ``<kind>/<key>.safetensors`` and ``<kind>/<key>.json``. The JSON is written last
and holds the SHA-256 of the tensors, so an entry exists exactly when its JSON does, and a process
killed at any moment leaves either a whole entry or none. Nothing here reads or writes a pickle.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from membrane.core.errors import StoreError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"  # in every folder of a store that was ever written to
_REDO = "If it lies in a store, `membrane store prune` on that removes it, and it is made again."
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # a bare pickle; torch.save's zip


@dataclass(frozen=True)
class Entry:
    """What was stored under a key: ``tensors`` by name and the ``facts`` beside them."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old file or the whole new one.

    Raises:
        StoreError: If the disk is full, read-only or otherwise refuses; what was there stays.
    """
    _put_in_place(_drafts({path: content}))


def _drafts(files: Mapping[Path, bytes]) -> dict[Path, Path]:
    """Whole new files by the path of what they shall replace; none is left behind if one cannot be written."""
    drafts: dict[Path, Path] = {}
    for path, content in files.items():
        drafts[path] = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with drafts[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            _discard(drafts.values())
            size = f"{len(content):,} bytes"
            raise StoreError(f"cannot write {path} ({size}): {problem.strerror}.{_room(path)}") from problem
    return drafts


def _put_in_place(drafts: Mapping[Path, Path]) -> None:
    for path, draft in drafts.items():
        try:
            draft.replace(path)
        except OSError as problem:
            _discard(drafts.values())
            raise StoreError(f"cannot write {path}: {problem.strerror}.{_room(path)}") from problem


def _discard(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # none there, or no right to
            path.unlink()


def _room(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return f" {shutil.disk_usage(folder).free:,} bytes are free there; free some or name another folder."


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 -- any JSON value
    """Write JSON atomically, keys in order, so that equal content is an equal file.

    Raises:
        StoreError: If it cannot be written, or holds something that JSON cannot, such as NaN.
    """
    write_bytes(path, _json(content, path))


def _json(content: Any, path: Path) -> bytes:  # noqa: ANN401 -- any JSON value
    try:
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as problem:
        raise StoreError(f"{path.name} would hold what JSON cannot: {problem}.") from problem


def read_json(path: Path) -> Any:  # noqa: ANN401 -- any JSON value
    """Content of a JSON file.

    Raises:
        StoreError: If it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:
        raise StoreError(f"{path} is not JSON ({problem}); it is damaged or not ours. Move it away.") from problem


def read_tensors(path: Path, checksum: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file.

    Args:
        path: The file.
        checksum: The SHA-256 that ``write_tensors`` returned, to be compared where it was kept.

    Raises:
        StoreError: If it is missing, truncated, altered, or something else, such as a pickle.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror}.") from problem
    tensors = _parse(content, path)
    if checksum not in (None, hashlib.sha256(content).hexdigest()):
        raise StoreError(f"{path} was altered or damaged after it was written. {_REDO}")
    return tensors


def _parse(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    try:
        return load(content)
    except KeyError as problem:
        raise StoreError(
            f"{path} holds numbers of the type {problem}, which torch does not know; save them in another one."
        ) from problem
    except (SafetensorError, ValueError) as problem:
        if content.startswith(_PICKLE_STARTS) and content[8:9] != b"{":  # a header's length may begin with any byte
            raise StoreError(
                f"{path} looks like a pickle or a torch.save file. Unpickling runs code, so membrane never does it; "
                "load it yourself and save its state_dict with safetensors.torch.save_file."
            ) from problem
        raise StoreError(
            f"{path} is not a whole safetensors file ({problem}); it is truncated or damaged. {_REDO}"
        ) from problem


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor | np.ndarray[Any, Any]]) -> str:
    """Write a safetensors file atomically and return its SHA-256."""
    content = _pack(tensors)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _pack(tensors: Mapping[str, torch.Tensor | np.ndarray[Any, Any]]) -> bytes:
    return save({name: _own_memory(tensor) for name, tensor in tensors.items()})


def _own_memory(tensor: torch.Tensor | np.ndarray[Any, Any]) -> torch.Tensor:
    """Contiguous CPU copy: safetensors refuses views that share memory (tied weights)."""
    if not isinstance(tensor, torch.Tensor):
        return torch.from_numpy(np.array(tensor, order="C"))
    return tensor.detach().to("cpu", copy=True).contiguous()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """The only writer in the folder of ``path``, while it lasts.

    The lock dies with its process. Where the system has none, two writers of one key take their chance:
    what they write is the same, because the key is made from everything that decides it.

    Raises:
        StoreError: If the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(LOCK).open("a")
    except OSError as problem:
        raise StoreError(f"cannot write {path}: {problem.strerror}.{_room(path)}") from problem
    with file:
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Store:
    """Finished things by kind and key, under one folder. Safe against kills and against a second writer.

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, kind: str, key: str) -> Path:
        """Path of an entry's JSON; the tensors lie beside it as ``.safetensors``."""
        return self.root / kind / f"{key}.json"

    def has(self, kind: str, key: str) -> bool:
        """Whether the entry is there, whole."""
        return self.path(kind, key).is_file()

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all whole entries of a kind, sorted."""
        return (path.stem for path in sorted((self.root / kind).glob("[!.]*.json")))

    def save(
        self,
        kind: str,
        key: str,
        tensors: Mapping[str, torch.Tensor | np.ndarray[Any, Any]],
        facts: Mapping[str, Any],
    ) -> None:
        """Store an entry; one that is there already is replaced.

        Raises:
            StoreError: If it cannot be written; nothing else in the store is touched.
        """
        path = self.path(kind, key)
        content = _pack(tensors)
        checksum = hashlib.sha256(content).hexdigest()
        described = _json({"facts": dict(facts), "sha256": checksum}, path)
        with alone(path):
            _discard(path.parent.glob(f".{glob.escape(path.stem)}.*.tmp"))  # drafts that a killed writer left
            # Whatever needs room comes first, so that a full disk leaves the old entry as it is.
            drafts = _drafts({path.with_suffix(".safetensors"): content, path: described})
            if not self._holds(kind, key, checksum):
                _discard([path])  # a kill between the two replacements must leave no entry, not two halves
            _put_in_place(drafts)

    def _holds(self, kind: str, key: str, checksum: str) -> bool:
        try:
            return self._described(kind, key)[1] == checksum
        except StoreError:
            return False

    def facts(self, kind: str, key: str) -> dict[str, Any]:
        """Facts of an entry, without reading its tensors."""
        return self._described(kind, key)[0]

    def _described(self, kind: str, key: str) -> tuple[dict[str, Any], str]:
        """Facts of an entry and the checksum of its tensors."""
        stored = read_json(self.path(kind, key))
        fits = isinstance(stored, dict) and isinstance(stored.get("facts"), dict)
        if not fits or not isinstance(stored.get("sha256"), str):
            raise StoreError(f"{self.path(kind, key)} is not an entry of a membrane store. Move it away.")
        return stored["facts"], stored["sha256"]

    def load(self, kind: str, key: str) -> Entry:
        """The entry, its tensors compared with their checksum.

        Raises:
            StoreError: If it is missing or was altered since it was written.
        """
        facts, checksum = self._described(kind, key)
        return Entry(read_tensors(self.path(kind, key).with_suffix(".safetensors"), checksum), facts)

    def verify(self) -> list[str]:
        """One sentence for each damaged entry; empty if all is well."""
        problems = []
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir()):
            for key in self.keys(folder.name):
                try:
                    self.load(folder.name, key)
                except StoreError as problem:
                    problems.append(str(problem))
        return problems
