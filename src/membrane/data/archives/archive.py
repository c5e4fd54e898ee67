"""Data sets as their authors publish them: checked against a known digest, read as a stream, never unpacked to disk.

A digest proves that a file is the published one. Sizes and names inside are bounded all the same.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from membrane.core.errors import DataError, raise_all
from membrane.data.source import Source, Splits

_PIECE = 1 << 20
# What readers of archives raise on damaged ones.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, UnicodeDecodeError,
    IndexError, RuntimeError,  # zipfile's, of extra fields cut short; of encryption and rare versions
)  # fmt: skip


@dataclass(frozen=True)
class Original:
    """A published file.

    Args:
        file: Its name.
        url: Where it is to be had.
        digest: Known digest: "sha256:..." or "md5:...", or "git:..." for the name of the blob in a Git repository.
    """

    file: str
    url: str
    digest: str

    def digest_of(self, content: BinaryIO) -> str:
        """The digest of the same kind of what ``content`` holds from its start."""
        kind = self.digest.partition(":")[0]
        digest = hashlib.new("sha1" if kind == "git" else kind, usedforsecurity=False)
        if kind == "git":
            digest.update(b"blob %d\0" % os.fstat(content.fileno()).st_size)
        content.seek(0)
        while piece := content.read(_PIECE):
            digest.update(piece)
        return f"{kind}:{digest.hexdigest()}"

    def command(self, place: Path) -> str:
        """What downloads the file to ``place``."""
        return shlex.join(["curl", "-L", "--fail", "--create-dirs", "-o", str(place), self.url])


@dataclass(frozen=True)
class Archive(Source):
    """Base class of published data sets; one overrides ``read``.

    Args:
        path: Folder where the published files lie; of a single one, also the file itself.
    """

    paths: ClassVar[tuple[str, ...]] = ("path",)
    originals: ClassVar[tuple[Original, ...]]

    path: str

    def read(self) -> Splits:
        """Both splits out of the files, which are there.

        Raises:
            DataError: If the files do not hold what they should.
        """
        raise NotImplementedError

    def load(self) -> Splits:
        """Both splits.

        Raises:
            DataError: If a file is missing, with the command that downloads it; if it is not the published one; or if
                it does not hold what it should.
        """
        raise_all(self.missing(), DataError)
        try:
            return self.read()
        except _DAMAGED as problem:
            raise DataError(f"{self.path} cannot be read ({problem}). Download it again.") from problem

    def missing(self) -> list[str]:
        """What is not there, each with the command that downloads it."""
        return [
            f"there is no file {place}. Download it with `{original.command(place)}`."
            for original in self.originals
            if not os.path.isfile(place := self._place(original))
        ]

    @contextmanager
    def opened(self, original: Original) -> Iterator[BinaryIO]:
        """The file, once its digest has been found right.

        Raises:
            DataError: If it is not the published file.
        """
        place = self._place(original)
        with place.open("rb") as content:
            found = original.digest_of(content)
            if found != original.digest:
                raise DataError(
                    f"{place} is not the published file: its digest is {found}, not {original.digest}. Download it "
                    f"again with `{original.command(place)}`."
                )
            content.seek(0)
            yield content

    def _place(self, original: Original) -> Path:
        path = Path(self.path)
        is_file = os.path.isfile(path) or path.suffix == Path(original.file).suffix
        return path if len(self.originals) == 1 and is_file else path / original.file
