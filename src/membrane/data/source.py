"""What a data source is: settings that load a train and a test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from membrane.data.examples import Examples


class Splits(NamedTuple):
    """The two splits that a source gives; pools, holdouts and populations are drawn from them."""

    train: Examples
    test: Examples


@dataclass(frozen=True)
class Source:
    """Base class of data sources."""

    name: ClassVar[str]

    def load(self) -> Splits:
        """Both splits, in memory.

        Raises:
            DataError: If the data are missing or not what they should be.
        """
        raise NotImplementedError
