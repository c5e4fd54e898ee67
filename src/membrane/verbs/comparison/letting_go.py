"""Weights and trails of a comparison's own store, let go once no later cell reads them.

Models in the hundreds, a trail with each, would fill disks; what is reported needs signals alone, and these stay. The
baseline's stay too: whatever acts after training, and may be added later, begins from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from membrane.core.settings import fingerprint
from membrane.core.store import Store
from membrane.data import Task
from membrane.training import Recipe
from membrane.training.keys import training_key
from membrane.verbs.comparison.cells import Cell

_Group = tuple[str, int, str]


class LettingGo:
    """Counts who still reads which trainings.

    Args:
        cells: All of the comparison, the baseline's first.
        store: The comparison's own.
    """

    def __init__(self, cells: Iterable[Cell], store: Store) -> None:
        groups = [(cell.method, group) for cell in cells if (group := _group(cell)) is not None]
        self._readers = Counter(group for _, group in groups)
        self._stay = {group for method, group in groups if method == groups[0][0]} if groups else set()
        self._store = store

    def done(self, cell: Cell, task: Task) -> None:
        """A cell is finished; remove the trainings of its models if it was the last that read them."""
        group = _group(cell)
        if group is None:
            return
        self._readers[group] -= 1
        if self._readers[group] == 0 and group not in self._stay:
            assert isinstance(cell.train, Recipe)
            for row in range(len(task.membership)):
                self._store.discard("training", training_key(cell.train, task, cell.seed, row))


def _group(cell: Cell) -> _Group | None:
    """What cells with the same trainings have in common; None for a function, whose trainings are not stored."""
    if not isinstance(cell.train, Recipe):
        return None
    return cell.setting, cell.seed, fingerprint(cell.train.training_settings())
