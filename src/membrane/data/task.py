"""Everything that an adaptive audit trains and measures on: who may be a member of which model, and who never is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, SettingError, raise_all
from membrane.core.generators import torch_generator
from membrane.core.values import Bools, Ints
from membrane.data.canaries import CANARIES, Canary
from membrane.data.duplicates import find_duplicates, refuse_duplicates
from membrane.data.examples import Examples
from membrane.data.membership import complementary_pairs, refuse_odd
from membrane.data.queries import Queries, query_mistakes
from membrane.data.source import Splits
from membrane.metrics import Slice, check_slices, class_slices

Subgroup: TypeAlias = Callable[[Examples], ArrayLike]


@dataclass(frozen=True)
class Task:
    """Pool, splits and membership of a bank of models.

    Args:
        pool: N examples, each in about half of the training sets, canaries in place.
        membership: (R, N), complementary pairs.
        canaries: Positions of the canaries in the pool.
        holdout: Examples that no model trains on, for defenses that must choose something; None if there
            are none.
        test: Examples that no model trains on and no defense sees: accuracy is measured here, and it is the
            population of the attacks that need one.
        notes: What a report should say about them.
        queries: In which ways models are asked for each example, see ``membrane.data.queries``.
        groups: Parts of the pool that a report compares with the rest, classes first.
    """

    pool: Examples
    membership: Bools
    canaries: Ints
    holdout: Examples | None
    test: Examples
    notes: tuple[str, ...] = ()
    queries: Queries = "identity"
    groups: tuple[Slice, ...] = ()

    @property
    def n_holdout(self) -> int:
        """Examples set aside, 0 if none."""
        return len(self.holdout) if self.holdout else 0

    def members(self, row: int) -> Examples:
        """Training set of one model, in pool order."""
        return self.pool[torch.from_numpy(np.flatnonzero(self.membership[row]))]

    def asked(self, queries: Queries) -> Task:
        """The same task with other queries.

        Raises:
            SettingError: If ``queries`` is unknown, or these examples cannot be asked for in this way.
        """
        raise_all(query_mistakes(queries, self.pool), SettingError)
        return replace(self, queries=queries)

    def grouped(self, subgroups: Mapping[str, Subgroup]) -> Task:
        """The same task with its classes and these subgroups as groups.

        Args:
            subgroups: By name, a function that tells for each example of the pool whether it belongs: ``(N,)`` bool.

        Raises:
            DataError: If a function gives something else, or names repeat.
        """
        classes = class_slices(self.pool.y.numpy(), [f"class {name}" for name in self.pool.classes])
        groups = (*classes, *(Slice(name, np.asarray(tell(self.pool))) for name, tell in subgroups.items()))
        check_slices(groups, len(self.pool))
        return replace(self, groups=groups)

    def checksum(self) -> str:
        """Another one for every other task in anything that a model is trained or measured on; computed once."""
        return self._checksum

    def members_checksum(self, row: int) -> str:
        """Of one model's training set; computed once, so that keys of many releases read the data once."""
        if row not in self._members_checksums:
            self._members_checksums[row] = self.members(row).checksum()
        return self._members_checksums[row]

    @cached_property
    def _checksum(self) -> str:
        return "-".join(part.checksum()[:8] if part else "none" for part in (self.pool, self.holdout, self.test))

    @cached_property
    def _members_checksums(self) -> dict[int, str]:
        return {}


def make_task(
    splits: Splits,
    *,
    n_models: int,
    pool: int,
    holdout: int,
    canaries: int,
    seed: int,
    canary_kind: str | Canary = "mislabelled",
    allow_duplicates: bool = False,
    near_duplicates: float | None = None,
) -> Task:
    """Draw pool and holdout from the train split, plant the canaries, deal out the membership.

    Args:
        splits: Where from; the whole test split is used.
        n_models: R, even.
        pool: N; each model trains on about half.
        holdout: Examples set aside, 0 for none.
        canaries: Canaries in the pool.
        seed: Decides all draws.
        canary_kind: Name in ``CANARIES``, or a kind with its settings.
        allow_duplicates: Note inputs that occur more than once in the pool, or in two of pool, holdout and test,
            instead of refusing them. Looked for before canaries are planted.
        near_duplicates: Correlation from which images count as copies, 0.95 say; None for identical inputs alone.

    Raises:
        DataError: If the train split is too small, or inputs occur more than once and must not.
        SettingError: If ``n_models`` is odd or below 2, or a kind of canary is unknown.
    """
    refuse_odd(n_models)
    raise_all(_mistakes(splits, pool, holdout, canaries), DataError)
    kind = canary_kind if isinstance(canary_kind, Canary) else CANARIES.make(canary_kind)
    order = torch.randperm(len(splits.train), generator=torch_generator(seed, "task", "split"))
    drawn = splits.train[order[:pool]]
    kept_out = splits.train[order[pool : pool + holdout]] if holdout else None
    parts = {"pool": drawn, "test": splits.test}
    copies = find_duplicates(parts | {"holdout": kept_out} if kept_out else parts, ["pool"], near_duplicates)
    if not allow_duplicates:
        refuse_duplicates(copies)
    planted = kind.plant(drawn, canaries, torch_generator(seed, "task", "canaries"))
    membership = complementary_pairs(n_models, pool, torch_generator(seed, "task", "membership"))
    notes = tuple(map(str, copies)) + ((f"The canaries are of the kind {kind.name}.",) if canaries else ())
    return Task(planted.examples, membership, planted.index, kept_out, splits.test, notes)


def _mistakes(splits: Splits, pool: int, holdout: int, canaries: int) -> list[str]:
    found = [
        f"{what} is {n}; it must be {least} or more."
        for what, n, least in (("pool", pool, 2), ("holdout", holdout, 0), ("canaries", canaries, 0))
        if n < least
    ]
    available = len(splits.train)
    if pool + holdout > available:
        needed = f"need {pool + holdout} training examples; there are {available}"
        found.append(f"a pool of {pool} and a holdout of {holdout} {needed}.")
    if canaries > pool:
        found.append(f"{canaries} canaries do not fit into a pool of {pool} examples.")
    train, test = ((part.x.shape[1:], part.x.dtype, part.classes) for part in splits)
    found += [
        f"train and test split differ: {a} and {b}. Load both in the same way."
        for a, b in zip(train, test, strict=True)
        if a != b
    ]
    return found
