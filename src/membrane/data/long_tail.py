"""Any source with unequal classes.

Source: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", arXiv:1901.05555: sizes fall
exponentially from class to class. There the order of classes is that of their labels; here it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from membrane.core.errors import DataError, SettingError
from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.source import Source, Splits


@dataclass(frozen=True)
class LongTail(Source):
    """Another source whose train split is thinned out until some classes are rare; the test split stays as it is.

    Args:
        of: The other source.
        ratio: Examples of the most frequent class for each one of the rarest, 1 or more.
        seed: Decides which classes are rare and which examples stay.
    """

    name: ClassVar[str] = "long_tail"

    of: Source
    ratio: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        _refuse_ratio(self.ratio)

    def load(self) -> Splits:
        """The other source's splits.

        Raises:
            DataError: As the other source does, or if the rarest class would have no example.
        """
        train, test = self.of.load()
        return Splits(long_tailed(train, self.ratio, torch_generator(self.seed, "long tail")), test)

    def missing(self) -> list[str]:
        """What the other source misses."""
        return self.of.missing()


def long_tailed(examples: Examples, ratio: float, generator: torch.Generator) -> Examples:
    """A random part in which the k-th of C classes has 1 / ratio ** (k / (C - 1)) of the first one's examples.

    The order of the classes is random. The first keeps as many examples as its rank and the sizes of all classes
    allow: with equal classes, all. The examples that stay keep their order.

    Args:
        examples: N of them; classes without any stay empty and have no rank.
        ratio: 1 or more; 1 makes classes equal.
        generator: Draws the order of the classes, then which examples stay.

    Raises:
        DataError: If the rarest class would have no example.
        SettingError: If ``ratio`` is below 1 or no number.
    """
    _refuse_ratio(ratio)
    there = examples.y.bincount(minlength=len(examples.classes))
    ranked = [label for label in _shuffled(len(there), generator).tolist() if there[label]]
    shares = [ratio ** (-k / max(len(ranked) - 1, 1)) for k in range(len(ranked))]
    largest = min(int(there[label]) / share for label, share in zip(ranked, shares, strict=True))
    sizes = [int(largest * share + 1e-9) for share in shares]
    if not sizes[-1]:
        raise DataError(
            f"with a ratio of {ratio:g} the rarest class would have {largest * shares[-1]:.2f} examples; at most "
            f"{largest:g} fits these data."
        )
    keep = []
    for label, size in zip(ranked, sizes, strict=True):
        mine = (examples.y == label).nonzero().flatten()
        keep.append(mine[_shuffled(len(mine), generator)[:size]])
    return examples[torch.cat(keep).sort().values]


def _shuffled(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(n, generator=generator)


def _refuse_ratio(ratio: float) -> None:
    if not 1 <= ratio < float("inf"):
        raise SettingError(f"long_tail: ratio is {ratio}; it must be 1 or more.")
