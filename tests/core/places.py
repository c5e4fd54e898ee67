"""Places to write to: wherever a store may lie; disks that are full or read-only, skipped where none can be made."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import fsspec
import pytest

from membrane.core import Store
from membrane.core.remote import Remote
from tests.core import s3

# Through fsspec, the second is on a disk that other processes see, the third writes whole files or none, as object
# storage does; the last is object storage.
STORES = ("folder", "file", "memory", pytest.param("s3", marks=pytest.mark.extras("moto", "s3fs")))
REMOTE = STORES[1:]


@contextmanager
def store_at(place: str, folder: Path) -> Iterator[Store]:
    """An empty store at one of ``STORES``; in the folder, if it is one."""
    if place == "s3":
        with s3.bucket() as url:
            yield Store(f"{url}/some/prefix")
    elif place == "memory":
        url = f"memory://{uuid.uuid4().hex}"
        yield Store(f"{url}/store")
        with suppress(FileNotFoundError):  # nothing was written
            fsspec.filesystem("memory").rm(url, recursive=True)
    else:
        yield Store(folder if place == "folder" else Remote(f"file://{folder}"))


def damage(store: Store, name: str, how: Callable[[bytes], bytes] | None) -> None:
    """Replace a file's content by what is made of it, or remove it."""
    if how is None:
        assert store.files.remove(name)
    else:
        store.files.drafted({name: how(store.files.read(name))})()


def _mount(*words: str) -> None:
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False, timeout=20)
    except OSError as problem:
        pytest.skip(f"needs mount: {problem}")
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    """Something mounted on a new folder."""
    folder.mkdir()
    _mount(*words, str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def small_disk(folder: Path, kilobytes: int) -> AbstractContextManager[Path]:
    """A disk of its own, that small."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, on a disk that takes no writes: not even root's."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def grow(disk: Path, kilobytes: int) -> None:
    """Make a small disk larger."""
    _mount("-o", f"remount,size={kilobytes}k", str(disk))
