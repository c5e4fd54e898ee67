"""Places to write to that make trouble: disks that are full or read-only. Skipped where they cannot be made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest


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
