"""Every error that membrane raises on purpose: what came, what fits, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MembraneError(Exception):
    """Base class: catching it catches every refusal of this package and nothing else."""

    listed: tuple[str, ...] = ()

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The mistakes one by one, where the message lists several; else the message."""
        return self.listed or (str(self),)


class SettingError(MembraneError):
    """A setting is unknown, of the wrong type, or outside its range."""


class DataError(MembraneError):
    """Examples, labels, splits or scores cannot be used as they are."""


class NotEnoughDataError(DataError):
    """The sample cannot resolve what was asked; the message says how many would."""


class ModelError(MembraneError):
    """A model does not do what its place requires (wrong output shape, non-finite weights, ...)."""


class TrainingError(MembraneError):
    """Training went wrong (divergence, for example); the message names the epoch."""


class OutOfMemoryError(MembraneError):
    """Memory of the processor or the accelerator ran out; the message names the setting that would fit."""


class StoreError(MembraneError):
    """A file on disk is missing, truncated, altered, of the wrong kind, or cannot be written."""


class UnreadableError(StoreError):
    """A file is there and cannot be read now; it may be whole."""


class ReleaseError(MembraneError):
    """A release was refused because it would undo another one's protection."""


def raise_all(mistakes: Iterable[str], kind: type[MembraneError] = SettingError) -> None:
    """Raise one error that lists every mistake, or return if there is none.

    Args:
        mistakes: One sentence each.
        kind: Class of the error.

    Raises:
        MembraneError: Of class ``kind``, if ``mistakes`` is not empty.

    >>> raise_all([])
    >>> raise_all(["epochs is 0; it must be 1 or more.", "lr is nan."])
    Traceback (most recent call last):
        ...
    membrane.core.errors.SettingError: 2 mistakes:
      - epochs is 0; it must be 1 or more.
      - lr is nan.
    """
    found = list(mistakes)
    if len(found) == 1:
        raise kind(found[0])
    if found:
        error = kind(f"{len(found)} mistakes:\n" + "\n".join(f"  - {mistake}" for mistake in found))
        error.listed = tuple(found)
        raise error


@contextmanager
def collected(mistakes: list[str], where: str = "") -> Iterator[None]:
    """Append what goes wrong inside to ``mistakes``, each with ``where`` before it, and go on after the block.

    >>> found: list[str] = []
    >>> with collected(found, "recipe: "):
    ...     raise_all(["epochs is 0.", "lr is nan."])
    >>> found
    ['recipe: epochs is 0.', 'recipe: lr is nan.']
    """
    try:
        yield
    except MembraneError as wrong:
        mistakes += [where + mistake for mistake in wrong.mistakes]
