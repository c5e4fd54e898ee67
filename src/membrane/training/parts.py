"""What one training needs of others before it starts: made once, kept until it is finished, counted as work done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

# Returns what was kept under the name, or makes and keeps it.
Keep = Callable[[str, Callable[[], Tensor]], Tensor]


def made_anew(name: str, make: Callable[[], Tensor]) -> Tensor:
    """Keep nothing."""
    return make()


@dataclass(frozen=True)
class Parts:
    """Where a defense puts the answers of the models that it trains for one training.

    Args:
        keep: Finds or makes a part by its name; in a store, a kill costs the part that was being made and no other.
        told: Called with parts done and in total.
    """

    keep: Keep = made_anew
    told: Callable[[int, int], None] = lambda done, total: None

    def each(self, names: Sequence[str], make: Callable[[int], Tensor]) -> list[Tensor]:
        """Every part, in order.

        Args:
            names: Of the parts; within one training they say what a part is.
            make: The part of an index. Must depend on nothing but the training and the index.
        """
        found = []
        for i, name in enumerate(names):
            found.append(self.keep(name, partial(make, i)))
            self.told(i + 1, len(names))
        return found
