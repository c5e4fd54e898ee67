"""The fleet: every model of a bank trained through the whole pipeline, stored as it finishes, never trained twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from membrane.core.errors import SettingError, StoreError
from membrane.core.progress import Progress, silent
from membrane.core.store import Store
from membrane.core.values import Signals
from membrane.data.task import Task
from membrane.readings import Reading
from membrane.training.defense import Defense
from membrane.training.engines import Engine, engine_of
from membrane.training.keys import TrainFunction, identity_of, release_key, shares_training, stacks
from membrane.training.origins import home_of
from membrane.training.recipe import Recipe
from membrane.training.releases import is_released, release, released
from membrane.training.stacked import largest_stack
from membrane.training.trainings import train_stack

__all__ = ["Bank", "FleetJob", "TrainFunction", "finished_rows", "identity_of", "sweep_fleet", "train_fleet"]


@dataclass(frozen=True)
class Bank:
    """What R models say about everything that is measured.

    Args:
        pool: (R, N, Q) signals on the pool, and the readings that were asked for.
        test: (R, Z, Q) signals on the test set, which is also the attacks' population; readings likewise.
        facts: R mappings: what the defense reported, seconds.
    """

    pool: Signals
    test: Signals
    facts: tuple[Mapping[str, Any], ...]


def train_fleet(
    train: Recipe | TrainFunction,
    task: Task,
    store: Store,
    seed: int,
    progress: Progress = silent,
    rows: Iterable[int] | None = None,
    label: str = "",
    function: str | None = None,
    readings: Sequence[Reading] = (),
    engine: str | Mapping[str, Any] | Engine = "in_process",
) -> Bank:
    """Train (or read back) every model of the task and collect its signals.

    Killed at any moment, a second call repeats no finished model and ends with the same bits; a function that
    cannot be recognized (see ``identity``) is called anew for every model.

    Args:
        train: A recipe, or any function ``train(members, holdout, generator) -> model`` that runs the user's
            whole pipeline, defense included.
        task: Data and membership.
        store: Where finished models lie.
        seed: Each model's own seed is derived from it.
        progress: Told of finished epochs (recipes) or models (functions), and of "stored models" that are read back.
        rows: Only these models, for sharing the work between processes; all if not given.
        label: Keeps the results of a function apart from those under other labels; recipes need none.
        function: Identity of a user's function, if known already.
        readings: What to read off every model beyond its signals. Read later than these, a recipe's model is made
            again from its stored training, a function's is trained again.
        engine: Where models are trained, see ``membrane.training.engines``; the bits do not depend on it.

    Raises:
        DivergedError: If a training diverges. Models finished before stay in the store, and its last good weights
            are put there, under the kind "diverged".
        OutOfMemoryError: If memory runs out, naming what would fit.
        ModelError: If a function's model does not fit the data, answers the same input differently when asked
            again, or does not answer with logits.
        StoreError: If the store cannot be written to, before anything is trained.
        SettingError: If ``rows`` names no model, or ones that the task does not have; or if the engine cannot send
            ``train`` where it has to go.
    """
    function = function or identity_of(train)  # once: counters in it must not change keys
    return next(_fleet((train,), task, store, seed, progress, rows, label, function, readings, engine))


def sweep_fleet(
    recipe: Recipe,
    defenses: Sequence[Defense],
    task: Task,
    store: Store,
    seed: int,
    progress: Progress = silent,
    rows: Iterable[int] | None = None,
    readings: Sequence[Reading] = (),
    engine: str | Mapping[str, Any] | Engine = "in_process",
) -> Iterator[Bank]:
    """Train (or read back) every model once and release it under each of several defenses.

    Ends with the bits and the entries of as many calls of ``train_fleet``, which read every training again.

    Args:
        recipe: How to train; its own defense is left aside.
        defenses: Which share one training: those that act after it, on one that acts in it or on none.
        task: As in ``train_fleet``, like all others.
        store: Where finished models lie.
        seed: Of the fleet.
        progress: Told of finished epochs and models, each with all of its releases.
        rows: Only these models.
        readings: What to read off every release.
        engine: Where models are trained and released.

    Returns:
        A bank for each defense, in their order; all are released by then, and each is read when it is asked for.

    Raises:
        SettingError: If there are no defenses, or they do not share their training; and as ``train_fleet``.
    """
    apart = [defense.name for defense in defenses if not shares_training(defense, defenses[0])]
    if apart or not defenses:
        raise SettingError(
            f"a sweep releases one training under several defenses; {', '.join(apart) or 'none were'} "
            f"{'train otherwise than ' + defenses[0].name if apart else 'given'}. Sweep each training by itself."
        )
    trains = tuple(recipe.with_defense(defense) for defense in defenses)
    return _fleet(trains, task, store, seed, progress, rows, "", None, readings, engine)


def _fleet(
    trains: tuple[Recipe | TrainFunction, ...],
    task: Task,
    store: Store,
    seed: int,
    progress: Progress,
    rows: Iterable[int] | None,
    label: str,
    function: str | None,
    readings: Sequence[Reading],
    engine: str | Mapping[str, Any] | Engine,
) -> Iterator[Bank]:
    chosen = _rows(rows, len(task.membership))
    made = engine_of(engine)
    for train in trains:
        made.refuse(train)
    with made.entered():
        keys = {row: tuple(release_key(train, task, seed, row, function, label) for train in trains) for row in chosen}
        job = FleetJob(trains, task, store.absolute(), seed, keys, tuple(readings))
        missing = [row for row in chosen if not job.is_done(row)]
        if missing:
            store.ready("release")
        job = job.stacked(missing, made.at_once(len(missing), torch.get_num_threads()))
        sizes = {stack[0]: len(stack) for stack in job.stacks}
        made.run(job, list(sizes), torch.get_num_threads(), _Tally(progress, len(chosen) - len(missing), sizes))
        _refuse_lost([row for row in missing if not job.is_done(row)], store)
    return (_bank([keys[row][number] for row in chosen], store, readings) for number in range(len(trains)))


def _bank(keys: Sequence[str], store: Store, readings: Sequence[Reading]) -> Bank:
    pools, tests, facts = zip(*(released(key, store, readings) for key in keys), strict=True)
    return Bank(Signals.stack(pools), Signals.stack(tests), facts)


@dataclass(frozen=True)
class FleetJob:
    """Finishes one model of a fleet after the other, or a stack of them at a time, wherever it is sent.

    Args:
        trains: Recipes that share one training, or one function.
        task: As in ``train_fleet``, like all others.
        store: Where finished models lie.
        seed: Of the fleet.
        keys: Of the models' releases, by row, in the order of ``trains``.
        readings: What is read off every model.
        stacks: Models that are trained together; the first of each stands for all.
    """

    trains: tuple[Recipe | TrainFunction, ...]
    task: Task
    store: Store
    seed: int
    keys: Mapping[int, tuple[str, ...]]
    readings: tuple[Reading, ...]
    stacks: tuple[tuple[int, ...], ...] = ()

    def stacked(self, rows: Sequence[int], at_once: int) -> FleetJob:
        """The same for these models, in stacks where that is faster, one for each that trains at once at least."""
        most = stack_size(self.trains[0], self.task, len(rows), at_once)
        sizes = self.task.membership.sum(1)  # a stack goes through as many batches with all of its models
        alike = [[row for row in rows if sizes[row] == size] for size in sorted({int(sizes[row]) for row in rows})]
        return replace(
            self, stacks=tuple(tuple(some[i : i + most]) for some in alike for i in range(0, len(some), most))
        )

    @property
    def home(self) -> str | None:
        """Folder that a user's function is imported from."""
        return None if isinstance(self.trains[0], Recipe) else home_of(self.trains[0])

    def is_done(self, row: int) -> bool:
        """Whether the model's signals and readings lie in the store."""
        return all(is_released(key, self.store, self.readings) for key in self.keys[row])

    def __call__(self, row: int, progress: Progress) -> None:
        """Train and release the models that the row stands for, as far as nobody was quicker."""
        left = [one for stack in self.stacks if stack[0] == row for one in stack if not self.is_done(one)]
        if isinstance(self.trains[0], Recipe) and len(left) > 1:
            train_stack(self.trains[0], self.task, self.store, self.seed, left, progress)
        for done, one in enumerate(left, 1):
            release(self.trains, self.keys[one], self.task, self.store, self.seed, one, self.readings, progress)
            if done < len(left):  # of the last its engine tells
                progress("models", done, len(left))


def stack_size(train: Recipe | TrainFunction, task: Task, n_models: int, at_once: int) -> int:
    """Models that are trained together, of so many that are to be: 1 where that is not faster, or not possible.

    Args:
        train: How.
        task: Data and membership.
        n_models: Left to train.
        at_once: Stacks that are trained at the same time; each of them gets some.
    """
    if not isinstance(train, Recipe) or not stacks(train, task):
        return 1
    n_members = int(task.membership.sum(1).max())
    most = largest_stack(train, tuple(task.pool.x.shape[1:]), len(task.pool.classes), n_members)
    return min(most, math.ceil(n_models / at_once) or 1)


class _Tally:
    """Adds up how far the models are, several of which may be under way."""

    def __init__(self, progress: Progress, n_stored: int, sizes: Mapping[int, int]) -> None:
        self._progress, self._n_stored, self._sizes = progress, n_stored, sizes
        self._n_models = n_stored + sum(sizes.values())
        self._shares: dict[int, float] = {}
        if n_stored:
            progress("stored models", n_stored, self._n_models)

    def __call__(self, row: int, what: str, share: float) -> None:
        self._shares[row] = max(share, self._shares.get(row, 0.0))
        done = sum(self._sizes[one] * part for one, part in self._shares.items())
        self._progress(what, self._n_stored + done, self._n_models)


def _refuse_lost(rows: list[int], store: Store) -> None:
    if rows:
        raise StoreError(
            f"models {rows} were trained, and {store.root} does not hold them: where other machines train, the store "
            "has to lie under one path, or at one URL, that all of them share."
        )


def finished_rows(
    train: Recipe | TrainFunction,
    task: Task,
    store: Store,
    seed: int,
    label: str = "",
    function: str | None = None,
    readings: Sequence[Reading] = (),
) -> list[int]:
    """Models of the task whose signals and readings lie in the store; arguments as in ``train_fleet``."""
    function = function or identity_of(train)
    keys = (release_key(train, task, seed, row, function, label) for row in range(len(task.membership)))
    return [row for row, key in enumerate(keys) if is_released(key, store, readings)]


def _rows(rows: Iterable[int] | None, n_models: int) -> list[int]:
    chosen = list(range(n_models)) if rows is None else list(rows)
    wrong = [row for row in chosen if not 0 <= row < n_models]
    if wrong or not chosen:
        raise SettingError(
            f"rows are {chosen}; the task has models 0 to {n_models - 1}, and one at least must be named."
        )
    return chosen
