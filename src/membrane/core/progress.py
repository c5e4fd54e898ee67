"""How long work reports that it is getting on: one callable, so that the library itself never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done, units done and units in total; the ratio is what an ETA is made of."""

    def __call__(self, what: str, done: float, total: float) -> None:
        """Take note."""
        ...


def silent(what: str, done: float, total: float) -> None:
    """Progress that nobody watches."""
