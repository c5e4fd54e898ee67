"""What a data source is: settings that load a train and a test split."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from membrane.core.errors import OutOfMemoryError, SettingError
from membrane.core.generators import torch_generator
from membrane.core.progress import Progress, silent
from membrane.data.examples import Examples
from membrane.data.listing import Listing, listed

Paths = str | tuple[str, ...]


class Splits(NamedTuple):
    """The two splits that a source gives; pools, holdouts and populations are drawn from them."""

    train: Examples
    test: Examples


@dataclass(frozen=True)
class Source:
    """Base class of data sources.

    ``paths`` names the settings that are paths: one text or several, each a file, a folder or a pattern.
    """

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]] = ()

    def load(self) -> Splits:
        """Both splits.

        Raises:
            DataError: If the data are missing or not what they should be.
        """
        raise NotImplementedError

    def listing(self) -> Listing:
        """The same, for taking a few inputs at a time; a source that decodes images overrides it so as to hold no more.

        Raises:
            DataError: If the data are missing or not what they should be; what is wrong with an input may show later.
        """
        return listed(*self.load())

    def prepare(self, progress: Progress = silent) -> None:
        """Do what has to be done once before loading, as ``on_disk`` decodes; ``load`` does it too, untold.

        Args:
            progress: Told what is done and how much of it.

        Raises:
            DataError: As ``load`` does.
            StoreError: If what is made cannot be written.
        """
        for one in self.inner():
            one.prepare(progress)

    def inner(self) -> list[Source]:
        """The sources among the settings."""
        values = (getattr(self, setting.name) for setting in dataclasses.fields(self))
        return [value for value in values if isinstance(value, Source)]

    def missing(self) -> list[str]:
        """One sentence for each path where nothing is, before anything is loaded."""
        return [f"there is no file {path}." for path in self.each_path() if not matches(path)]

    def each_path(self) -> Iterator[str]:
        """The paths among the settings."""
        for setting in self.paths:
            value = getattr(self, setting)
            yield from (value,) if isinstance(value, str) else value


def matches(path: str) -> list[str]:
    """What lies at a path, or at the paths that a pattern with ``*``, ``?`` or ``[`` stands for, in order of names."""
    if os.path.exists(path):  # unlike Path.exists, no path makes it raise
        return [path]
    try:
        return sorted(glob.glob(path, recursive=True))
    except (OSError, ValueError):
        return []


@contextmanager
def fitting(what: str, advice: str) -> Iterator[None]:
    """Say it plainly where memory runs out in reading.

    Raises:
        OutOfMemoryError: In place of what Python, numpy or Arrow raise.
    """
    try:
        yield
    except MemoryError as problem:
        raise OutOfMemoryError(f"{what} does not fit into memory ({problem}). {advice}") from problem


def split_off(examples: Examples, test: float, seed: int) -> Splits:
    """Random train and test split of data that come as one.

    Args:
        examples: All of them, 2 or more.
        test: Share of the test split, above 0 and below 1; rounded to a whole number, at least one example each.
        seed: Of the draw.
    """
    return Splits(*(examples[part] for part in split_rows(len(examples), test, seed)))


def split_rows(n: int, test: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of the train and of the test split that ``split_off`` makes of ``n`` examples."""
    n_test = min(max(round(test * n), 1), n - 1)
    order = torch.randperm(n, generator=torch_generator(seed, "source", "split"))
    return order[n_test:], order[:n_test]


def refuse_share(test: float, what: str) -> None:
    """Refuse shares of a test split that leave one of the two splits empty.

    Raises:
        SettingError: Unless 0 < ``test`` < 1.
    """
    if not 0 < test < 1:
        raise SettingError(f"{what}: test is {test}; it must be above 0 and below 1, the share set aside for testing.")
