"""Files under a URL: object storage (S3, Google Cloud, Azure) and whatever else fsspec opens.

Library: fsspec (extra ``remote``), https://filesystem-spec.readthedocs.io, with the package that knows the protocol:
s3fs, gcsfs, adlfs. Credentials and endpoints are theirs to find, in the environment and in configuration files, so that
worker processes and other machines find them too and no file of membrane's ever holds them.

An object is written whole or not at all. There is no lock and no rename: see ``Store`` for what that means.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, ClassVar

from membrane.core.errors import MembraneError, StoreError, UnreadableError
from membrane.core.files import LOCK, Found

_PASSWORD = re.compile(r"//[^/@]*:[^/@]*@")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")  # of the packages that know protocols


class Remote:
    """Files under a URL. Nothing is kept of what others may change: every question goes to where the files lie.

    Where objects are but files of another machine (SFTP, say), a kill may leave half a file, which its checksum tells.

    Args:
        url: Such as ``s3://bucket/prefix``. The bucket has to be there.

    Raises:
        StoreError: If it is no URL that can be opened here.
    """

    exclusive: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        if "::" in url:
            raise StoreError(f"{url} chains several places; a store needs one that others see too. Name the last one.")
        if _PASSWORD.search(url):
            raise StoreError(
                "the store's URL holds a password, which would be written into run folders. Leave it out; fsspec reads "
                "it from its configuration: https://filesystem-spec.readthedocs.io/en/latest/features.html."
            )
        protocol, _, rest = url.partition("://")
        self._url = f"{protocol}://{rest.rstrip('/')}"
        self._claimed: set[str] = set()
        self._opened()  # what is missing is told now

    @property
    def where(self) -> str:
        """Its URL."""
        return self._url

    def absolute(self) -> Remote:
        """The same place."""
        return self

    def path(self, name: str) -> str:
        """URL of a file."""
        return f"{self._url}/{name}" if name else self._url

    def free_bytes(self) -> None:
        """Nobody can tell."""

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        with self._told("look for", name):
            system, path = self._at(name)
            try:
                return bool(system.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with self._told("read", name, UnreadableError):
            system, path = self._at(name)
            try:
                return bytes(system.cat_file(path))
            except FileNotFoundError as problem:
                raise StoreError(f"cannot read {self.path(name)}: there is no such file.") from problem

    def folders(self) -> list[str]:
        """Names of all folders, sorted."""
        return sorted(_name(info) for info in self._listed("") if info["type"] == "directory")

    def names(self, folder: str) -> list[str]:
        """Names of all files in a folder, sorted."""
        return sorted(_name(info) for info in self._listed(folder) if info["type"] == "file")

    def found(self, folder: str) -> list[Found]:
        """The same with sizes and times."""
        files = [info for info in self._listed(folder) if info["type"] == "file"]
        return [Found(_name(info), int(info["size"] or 0), _seconds(info)) for info in sorted(files, key=_name)]

    def claim(self, folder: str) -> None:
        """Put the empty file there that a lock would be elsewhere, so that a store copied between both is one."""
        if folder not in self._claimed:
            self._write(f"{folder}/{LOCK}", b"")
            self._claimed.add(folder)

    def alone(self, folder: str) -> AbstractContextManager[None]:
        """No lock: others may write at the same time."""
        return nullcontext()

    def drafted(self, files: Mapping[str, bytes]) -> Callable[[], None]:
        """Contents wait in memory; what comes out writes one object after the other."""
        for name in files:
            self.claim(name.rpartition("/")[0])

        def put() -> None:
            for name, content in files.items():
                self._write(name, content)

        return put

    def remove(self, name: str) -> bool:
        """Remove a file; whether there was one, or True where removing nothing is no error, as on S3."""
        with self._told("remove", name):
            system, path = self._at(name)
            try:
                system.rm_file(path)
            except FileNotFoundError:
                return False
            return True

    def _write(self, name: str, content: bytes) -> None:
        with self._told("write", name):
            system, path = self._at(name)
            try:
                system.pipe_file(path, content)
            except FileNotFoundError:  # on object storage there is no bucket; elsewhere there may be no folder yet
                top = path[: -len(path.lstrip("/"))] + path.lstrip("/").partition("/")[0]
                if not system.exists(top):  # a bucket is made by those who pay for it, never by a slip of the pen
                    raise
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.pipe_file(path, content)

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        with self._told("list", folder):
            system, path = self._at(folder)
            try:
                found: list[dict[str, Any]] = system.ls(path, detail=True)
            except FileNotFoundError:
                return []
            return [info for info in found if info["name"].strip("/") != path.strip("/")]

    def _at(self, name: str) -> tuple[Any, str]:
        """The file system and a file's path in it."""
        system, root = self._opened()
        return system, f"{root}/{name}".rstrip("/")

    def _opened(self) -> tuple[Any, str]:
        """The file system and its path of the URL; fsspec keeps one for each process and thread."""
        try:
            core = importlib.import_module("fsspec.core")
        except ImportError as problem:
            raise StoreError(f"a store at {self._url} needs fsspec: pip install 'membrane[remote]'.") from problem
        try:
            # Without listings of its own, which would hide what others write.
            system, root = core.url_to_fs(self._url, use_listings_cache=False)
        except ImportError as problem:  # says which package knows the protocol
            raise StoreError(
                f"{self._url} cannot be opened here: {str(problem).removesuffix('.')}, with pip."
            ) from problem
        except Exception as problem:  # every package has errors of its own
            raise StoreError(f"{self._url} cannot be opened: {_said(problem)} {_advice(problem)}") from problem
        return system, str(root).rstrip("/")

    @contextmanager
    def _told(self, what: str, name: str, kind: type[StoreError] = StoreError) -> Iterator[None]:
        """Errors of whatever package it is, as ours."""
        try:
            yield
        except MembraneError:
            raise
        except Exception as problem:  # every package has errors of its own
            raise kind(f"cannot {what} {self.path(name)}: {_said(problem)} {_advice(problem)}") from problem


def _said(problem: Exception) -> str:
    """What an error says, with its class: the text alone may be a bare name."""
    text = " ".join(str(problem).split()).removesuffix(".")
    return f"{type(problem).__name__}: {text}." if text else f"{type(problem).__name__}."


def _advice(problem: Exception) -> str:
    """What to do about it."""
    if isinstance(problem, PermissionError):
        return "Use credentials that may list, read, write and delete there."
    if isinstance(problem, FileNotFoundError):
        return "Make the bucket first, or mend its name: membrane makes none."
    if isinstance(problem, ValueError):
        return 'Give a folder, or a URL such as "s3://bucket/prefix" (gs://, abfs:// and others that fsspec knows).'
    return (
        "See whether this machine reaches it, and whether credentials and endpoint are where its package looks for "
        "them (environment, configuration files)."
    )


def _name(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]


def _seconds(info: Mapping[str, Any]) -> float | None:
    """When a file was written, however its file system says so."""
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
