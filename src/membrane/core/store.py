"""Finished things, stored: tensors in safetensors, facts in JSON, written whole or not at all.

An entry is two files, ``<kind>/<key>.safetensors`` and ``<kind>/<key>.json``. The JSON is written last
and holds the SHA-256 of the tensors, so an entry exists exactly when its JSON does, and a process
killed at any moment leaves either a whole entry or none. Nothing here reads or writes a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from membrane.core.errors import StoreError
from membrane.core.files import Files, Folder, read_bytes, write_bytes
from membrane.core.remote import Remote

_REDO = "If it lies in a store, `membrane store prune` on that removes it, and it is made again."
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # a bare pickle; torch.save's zip
_URL = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)
_URL_THROUGH_PATH = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)
_HERE = ("file", "local")  # protocols of this machine's folders


@dataclass(frozen=True)
class Entry:
    """What was stored under a key: ``tensors`` by name and the ``facts`` beside them."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 -- any JSON value
    """Write JSON atomically, keys in order, so that equal content is an equal file.

    Raises:
        StoreError: If it cannot be written, or holds something that JSON cannot, such as NaN.
    """
    write_bytes(path, _json(content, path.name))


def _json(content: Any, name: str) -> bytes:  # noqa: ANN401 -- any JSON value
    try:
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as problem:
        raise StoreError(f"{name} would hold what JSON cannot: {problem}.") from problem


def read_json(path: Path) -> Any:  # noqa: ANN401 -- any JSON value
    """Content of a JSON file.

    Raises:
        StoreError: If it is missing, unreadable or not JSON.
    """
    return _parsed_json(read_bytes(path), str(path))


def _parsed_json(content: bytes, path: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(content)
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
    return _parsed_tensors(read_bytes(path), str(path), checksum)


def _parsed_tensors(content: bytes, path: str, checksum: str | None) -> dict[str, torch.Tensor]:
    tensors = _parse(content, path)
    if checksum not in (None, hashlib.sha256(content).hexdigest()):
        raise StoreError(f"{path} was altered or damaged after it was written. {_REDO}")
    return tensors


def _parse(content: bytes, path: str) -> dict[str, torch.Tensor]:
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


def is_url(root: str) -> bool:
    """Whether this names a place by a protocol, not a folder."""
    return _URL.match(root) is not None


def _files_at(root: str | os.PathLike[str]) -> Files:
    text = os.fspath(root)
    if not is_url(text):
        if _URL_THROUGH_PATH.match(text):
            raise StoreError(f"{text} was a URL before it went through pathlib. Give it as text.")
        return Folder(Path(root))
    protocol, _, rest = text.partition("://")
    return Folder(Path(rest)) if protocol.lower() in _HERE else Remote(text)


class Store:
    """Finished things by kind and key, under one folder or URL.

    In a folder it is safe against kills and against a second writer. Object storage writes an object whole or not at
    all, but has no lock and no rename. A kill leaves no half entry there either: the JSON comes last, and one that does
    not fit new tensors is removed before them, so that the old entry is gone if these are refused. Two writers of one
    key write the same, because the key is made from everything that decides the content; where their bits differ all
    the same (two kinds of processors, say), a reader may meet the JSON of one beside the tensors of the other, is told
    so by the checksum, and `membrane store prune` removes what stays that way.

    Args:
        root: The folder, made when first written to; or a URL that fsspec opens, such as ``s3://bucket/prefix``; or
            files that are open already.

    Raises:
        StoreError: If a URL cannot be opened on this machine, saying what is missing.
    """

    def __init__(self, root: str | os.PathLike[str] | Files) -> None:
        self.files: Files = _files_at(root) if isinstance(root, str | os.PathLike) else root

    @property
    def root(self) -> str:
        """Path of the folder, or URL."""
        return self.files.where

    def absolute(self) -> Store:
        """The same store, from whatever working folder."""
        return Store(self.files.absolute())

    def path(self, kind: str, key: str) -> str:
        """Path or URL of an entry's tensors; the JSON lies beside them."""
        return self.files.path(_tensors(kind, key))

    def ready(self, kind: str) -> None:
        """Return if entries of a kind can be written; to be asked before long work.

        Raises:
            StoreError: If not, saying what to do.
        """
        self.files.claim(kind)

    def has(self, kind: str, key: str) -> bool:
        """Whether the entry is there, whole."""
        return self.files.has(_facts(kind, key))

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all whole entries of a kind, sorted."""
        names = self.files.names(kind)
        return (name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith("."))

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
        name = _facts(kind, key)
        content = _pack(tensors)
        checksum = hashlib.sha256(content).hexdigest()
        described = _json({"facts": dict(facts), "sha256": checksum}, f"{key}.json")
        with self.files.alone(kind):
            # Whatever needs room comes first, so that a full disk leaves the old entry as it is.
            put_in_place = self.files.drafted({_tensors(kind, key): content, name: described})
            if self.files.has(name) and not self._holds(kind, key, checksum):
                self.files.remove(name)  # a kill between the two files must leave no entry, not two halves
            put_in_place()

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
        name = _facts(kind, key)
        stored = _parsed_json(self.files.read(name), self.files.path(name))
        fits = isinstance(stored, dict) and isinstance(stored.get("facts"), dict)
        if not fits or not isinstance(stored.get("sha256"), str):
            raise StoreError(f"{self.files.path(name)} is not an entry of a membrane store. Move it away.")
        return stored["facts"], stored["sha256"]

    def load(self, kind: str, key: str) -> Entry:
        """The entry, its tensors compared with their checksum.

        Raises:
            UnreadableError: If a file of it cannot be read now.
            StoreError: If it is missing or was altered since it was written.
        """
        facts, checksum = self._described(kind, key)
        name = _tensors(kind, key)
        return Entry(_parsed_tensors(self.files.read(name), self.files.path(name), checksum), facts)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry if it is there; whatever else reads it must make it anew.

        Raises:
            StoreError: If it cannot be removed.
        """
        if self.has(kind, key):
            with self.files.alone(kind):
                # The JSON first: a kill in between leaves an orphan, not an entry without its tensors.
                self.files.remove(_facts(kind, key))
                self.files.remove(_tensors(kind, key))

    def verify(self) -> list[str]:
        """One sentence for each damaged entry; empty if all is well."""
        problems = []
        for kind in self.files.folders():
            for key in self.keys(kind):
                try:
                    self.load(kind, key)
                except StoreError as problem:
                    problems.append(str(problem))
        return problems


def _facts(kind: str, key: str) -> str:
    return f"{kind}/{key}.json"


def _tensors(kind: str, key: str) -> str:
    return f"{kind}/{key}.safetensors"
