"""Where the bytes of a store lie: what it asks of such a place, and a folder of this machine, which answers first.

A folder has locks and renames, so there is one writer at a time, and a file is replaced whole. ``remote`` answers for
places that have neither.
"""

from __future__ import annotations

import glob
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from membrane.core.errors import StoreError, UnreadableError

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"  # in every folder of a store that was ever written to, with locks or without


@dataclass(frozen=True)
class Found:
    """A file that is there.

    Args:
        name: In its folder.
        n_bytes: Its size.
        written: Seconds since 1970 when it was, by the clock of where it lies; None if that keeps no time.
    """

    name: str
    n_bytes: int
    written: float | None


class Files(Protocol):
    """A place for files, named from its top with slashes: ``training/3f.json``.

    Every method raises ``StoreError``, saying what to do, where the place cannot be reached or refuses.

    Args:
        exclusive: Whether ``alone`` keeps other writers out. If not, a file that was written just now may belong to
            an entry whose other file is on its way.
    """

    exclusive: ClassVar[bool]

    @property
    def where(self) -> str:
        """Path or URL of its top."""

    def absolute(self) -> Files:
        """The same place, from whatever working folder."""

    def path(self, name: str) -> str:
        """Path or URL of a file."""

    def free_bytes(self) -> int | None:
        """Room that is left; None where nobody can tell."""

    def has(self, name: str) -> bool:
        """Whether the file is there."""

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            UnreadableError: If it is there and cannot be read.
            StoreError: If it is not there.
        """

    def folders(self) -> list[str]:
        """Names of all folders, sorted."""

    def names(self, folder: str) -> list[str]:
        """Names of all files in a folder, hidden ones too, sorted; none if there is no such folder."""

    def found(self, folder: str) -> list[Found]:
        """The same with sizes and times."""

    def claim(self, folder: str) -> None:
        """Mark a folder as written to by a store. Shows at once whether it can be."""

    def alone(self, folder: str) -> AbstractContextManager[None]:
        """The only writer in the folder while it lasts, where the place has locks."""

    def drafted(self, files: Mapping[str, bytes]) -> Callable[[], None]:
        """Get whole new files ready; what comes out puts them in place, in their order, each atomically.

        What can fail for want of room fails here where the place allows it, and leaves the old files as they are.
        """

    def remove(self, name: str) -> bool:
        """Remove a file; whether there was one."""


class Folder:
    """A folder of this machine's file system. Its lock dies with the process that holds it.

    Where the system has no locks, two writers of one key take their chance: what they write is the same, because the
    key is made from everything that decides it.

    Args:
        root: The folder; made when first written to.
    """

    exclusive: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.root)

    def absolute(self) -> Folder:
        """The same folder, from whatever working folder."""
        return Folder(self.root.absolute())

    def path(self, name: str) -> str:
        """Path of a file."""
        return str(self.root / name)

    def free_bytes(self) -> int:
        """Room on its disk."""
        return _free_bytes(self.root / LOCK)

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """Content of a file."""
        return read_bytes(self.root / name)

    def folders(self) -> list[str]:
        """Names of all folders, sorted."""
        return sorted(path.name for path in self.root.glob("*") if path.is_dir())

    def names(self, folder: str) -> list[str]:
        """Names of everything in a folder, sorted."""
        return sorted(path.name for path in (self.root / folder).glob("*"))

    def found(self, folder: str) -> list[Found]:
        """The same with sizes and times."""
        found = []
        for name in self.names(folder):
            with suppress(FileNotFoundError):  # just being replaced
                facts = (self.root / folder / name).stat()
                found.append(Found(name, facts.st_size, facts.st_mtime))
        return found

    def claim(self, folder: str) -> None:
        """Make the folder, with its lock file."""
        with self.alone(folder):
            pass

    def alone(self, folder: str) -> AbstractContextManager[None]:
        """The only writer in the folder while it lasts."""
        return alone(self.root / folder / LOCK)

    def drafted(self, files: Mapping[str, bytes]) -> Callable[[], None]:
        """Write drafts beside the files; what comes out renames them. Drafts of killed writers go."""
        paths = {self.root / name: content for name, content in files.items()}
        for path in paths:
            _discard(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
        drafts = _drafts(paths)
        return lambda: _put_in_place(drafts)

    def remove(self, name: str) -> bool:
        """Remove a file; whether there was one."""
        path = self.root / name
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise StoreError(f"cannot remove {path}: {problem.strerror}.") from problem
        return True


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        UnreadableError: If it is there and cannot be read.
        StoreError: If it is not there.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as problem:
        raise StoreError(f"cannot read {path}: {problem.strerror}.") from problem
    except OSError as problem:
        raise UnreadableError(f"cannot read {path}: {problem.strerror}.") from problem


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old file or the whole new one.

    Raises:
        StoreError: If the disk is full, read-only or otherwise refuses; what was there stays.
    """
    _put_in_place(_drafts({path: content}))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """The only writer in the folder of ``path``, while it lasts; the folder is made.

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
    return f" {_free_bytes(path):,} bytes are free there; free some or name another folder."


def _free_bytes(path: Path) -> int:
    """Room where a file that may not be there yet would lie."""
    return shutil.disk_usage(next(parent for parent in path.absolute().parents if parent.exists())).free
