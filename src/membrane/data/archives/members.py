"""What lies in an archive, one file after the other, within what a data set can hold; nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from membrane.core.errors import DataError

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Bounds:
    """What an archive of a data set can hold at most.

    Args:
        member: Bytes of one file.
        total: Bytes of all of them, unpacked.
        members: Their number.
    """

    member: int
    total: int
    members: int


def tar_members(content: BinaryIO, bounds: Bounds) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in a .tar.gz, in order; a content is good until the next one is asked for.

    Raises:
        DataError: If the archive exceeds its bounds, or holds names or members that no data set has.
    """
    unpacked = _Bounded(gzip.GzipFile(fileobj=content), bounds.total)
    seen: set[str] = set()
    with tarfile.open(fileobj=unpacked, mode="r|") as tar:  # type: ignore[call-overload]  # it only reads
        while (member := tar.next()) is not None:
            tar.members.clear()  # or they stay in memory
            if member.isdir():
                continue
            name = _checked(member.name, member.size, seen, bounds)
            stream = tar.extractfile(member) if member.isreg() and member.sparse is None else None
            if stream is None:
                raise _strange(f"its member {name!r} is no plain file")
            yield name, stream


def zip_members(content: BinaryIO, bounds: Bounds) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An open .zip and its files by name; no file reads longer than it says.

    Raises:
        DataError: If the archive exceeds its bounds, or holds names or members that no data set has.
    """
    archive = zipfile.ZipFile(content)
    seen: set[str] = set()
    files = [one for one in archive.infolist() if not one.is_dir()]
    members = {_checked(one.filename, one.file_size, seen, bounds): one for one in files}
    if sum(one.file_size for one in files) > bounds.total:
        raise _strange(f"it would unpack to more than {bounds.total:,} bytes")
    if any(one.flag_bits & 1 or one.compress_type not in _COMPRESSIONS for one in files):
        raise _strange("it is encrypted or compressed in a rare way")
    return archive, members


def _checked(name: str, size: int, seen: set[str], bounds: Bounds) -> str:
    """The member's name without a leading ``./``, if name and size are those of a data set's file."""
    plain = name.removeprefix("./")
    if plain.startswith(("/", "\\")) or ".." in plain.replace("\\", "/").split("/") or ":" in plain or "\0" in plain:
        raise _strange(f"its member {name!r} points outside")
    if not 0 <= size <= bounds.member:
        raise _strange(f"its member {plain!r} has {size:,} bytes, and at most {bounds.member:,} can be meant")
    if plain in seen:
        raise _strange(f"it holds {plain!r} twice")
    seen.add(plain)
    if len(seen) > bounds.members:
        raise _strange(f"it holds more than {bounds.members:,} files")
    return plain


class _Bounded:
    """A stream that refuses to give more than so many bytes, whatever the archive says of itself."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._left, self._most = stream, most, most

    def read(self, n: int) -> bytes:
        piece = self._stream.read(min(n, self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            raise _strange(f"it unpacks to more than {self._most:,} bytes")
        return piece


def _strange(what: str) -> DataError:
    return DataError(f"this archive is not the published data set: {what}. Download it again.")
