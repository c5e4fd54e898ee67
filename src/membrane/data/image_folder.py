"""A folder of image files, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch

from membrane.core.errors import DataError, collected, raise_all
from membrane.data.images import Colour, Form
from membrane.data.listing import Listing, decoded
from membrane.data.source import Source, Splits, refuse_share, split_rows

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_TEST_NAMES = ("test", "val", "valid", "validation")
_HIDDEN = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class ImageFolder(Source):
    """Image files (PNG, JPEG, WebP, ...) in one folder per class.

    ``path`` holds a folder ``train`` and a folder ``test`` (or ``val``), each with the class folders; or the class
    folders themselves, which are then split at random. Classes are numbered in the order of their names. Folders
    inside a class folder are read too; hidden files are left out and counted in the data's name. Turning images as
    their EXIF data say is left to you.

    Args:
        path: The folder.
        size: Side in pixels that images are scaled and cropped to; None: they must be of one size already.
        colour: "rgb" for three channels, "grey" for one.
        others: What to do with files that are no images: "refuse" or "skip".
        test: Share of the test split where there is no ``test`` folder.
        seed: Of that split.
    """

    name: ClassVar[str] = "image_folder"
    paths: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    size: int | None = None
    colour: Colour = "rgb"
    others: Literal["refuse", "skip"] = "refuse"
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_share(self.test, self.name)
        Form(self.size, self.colour)

    def load(self) -> Splits:
        """Train and test split, uint8 (N, channels, height, width).

        Raises:
            DataError: If folders are missing or empty; if files are no images and not to be skipped; or listing all
                images that are broken, too large, or of another size than the first.
        """
        return Splits(*self.listing().in_memory())

    def listing(self) -> Listing:
        """The same, images decoded when asked for.

        Raises:
            DataError: If folders are missing or empty, or files are no images and not to be skipped.
        """
        root = Path(self.path)
        if not os.path.isdir(root):
            raise DataError(f"there is no folder {root}. Give the path of a folder with one folder per class.")
        found = [_Part(folder) for folder in _parts(root)]
        classes = found[0].classes
        raise_all(self._mistakes(found), DataError)
        files = [(file, classes.index(name)) for part in found for name, file in part.images()]
        blocks = decoded(
            lambda: ((str(file.relative_to(root)), file) for file, _ in files), len(files), Form(self.size, self.colour)
        )
        y, title = torch.tensor([label for _, label in files]), f"{root.absolute().name}{_left_out(found)}"
        if len(found) == 1:
            return Listing(blocks, y, tuple(classes), title, *split_rows(len(files), self.test, self.seed))
        n_train = found[0].n_images
        return Listing(blocks, y, tuple(classes), title, slice(n_train), slice(n_train, None))

    def _mistakes(self, found: list[_Part]) -> list[str]:
        mistakes: list[str] = []
        for part in found:
            with collected(mistakes):
                part.check(found[0].classes, refuse_others=self.others == "refuse")
        if not mistakes and sum(part.n_images for part in found) < 2:
            mistakes.append(f"{self.path} holds one image; two splits need two or more.")
        return mistakes


class _Part:
    """What lies in the class folders of one split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden, self.others = 0, list[Path]()
        self.by_class: Mapping[str, list[Path]] = {
            entry.name: list(self._files(entry))
            for entry in sorted(folder.iterdir())
            if entry.is_dir() and not _is_hidden(entry)
        }
        self.others += self._sort_out(entry for entry in sorted(folder.iterdir()) if not entry.is_dir())

    @property
    def classes(self) -> list[str]:
        return list(self.by_class)

    @property
    def n_images(self) -> int:
        return sum(map(len, self.by_class.values()))

    def images(self) -> Iterator[tuple[str, Path]]:
        for name, files in self.by_class.items():
            yield from ((name, file) for file in files)

    def check(self, classes: list[str], *, refuse_others: bool) -> None:
        """Refuse what cannot be a split with these classes."""
        mistakes = [
            f"{self.folder / name} holds no images ({', '.join(SUFFIXES)})."
            for name, files in self.by_class.items()
            if not files
        ]
        if not self.by_class:
            mistakes.append(f"{self.folder} has no class folders; put the images of each class into one of its own.")
        if unknown := sorted(set(self.classes) - set(classes)):
            mistakes.append(f"{self.folder} has classes {unknown} that the train folder does not have.")
        if self.others and refuse_others:
            first = ", ".join(str(file.relative_to(self.folder)) for file in self.others[:5])
            mistakes.append(
                f"{len(self.others):,} files in {self.folder} are no images of a class, the first {first}. "
                'Move them away, or leave them out with others = "skip".'
            )
        raise_all(mistakes, DataError)

    def _files(self, folder: Path) -> Iterator[Path]:
        for here, folders, names in os.walk(folder):  # follows no links to folders, which may lead in circles
            self.hidden += sum(map(_is_hidden, map(Path, folders)))
            folders[:] = sorted(name for name in folders if not _is_hidden(Path(name)))
            yield from self._sort_out(Path(here) / name for name in sorted(names))

    def _sort_out(self, files: Iterator[Path]) -> list[Path]:
        """Images among the files; the rest is counted."""
        images = []
        for file in files:
            if _is_hidden(file):
                self.hidden += 1
            elif file.suffix.lower() in SUFFIXES:
                images.append(file)
            else:
                self.others.append(file)
        return images


def _parts(root: Path) -> list[Path]:
    """The train and the test folder, or the one folder that has to be split."""
    folders = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    test = next((folders[name] for name in _TEST_NAMES if name in folders), None)
    if "train" not in folders and test is None:
        return [root]
    if "train" not in folders or test is None:
        there, not_there = ("train", "test (or val)") if "train" in folders else (test and test.name, "train")
        raise DataError(f"{root} has a folder {there} and none called {not_there}; give both, or class folders alone.")
    return [folders["train"], test]


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _HIDDEN


def _left_out(found: list[_Part]) -> str:
    counts = ((sum(p.hidden for p in found), "hidden"), (sum(len(p.others) for p in found), "no images of a class"))
    text = ", ".join(f"{n:,} {what}" for n, what in counts if n)
    return f" (files left out: {text})" if text else ""
