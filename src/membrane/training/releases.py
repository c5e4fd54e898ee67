"""Releases of a fleet: one trained model under one defense or under many, and what it says, kept in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from membrane.core.errors import ModelError
from membrane.core.generators import torch_generator
from membrane.core.progress import Progress
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store
from membrane.core.values import SIGNAL_KINDS, Signals
from membrane.data.task import Task
from membrane.models import at_work
from membrane.readings import Reading
from membrane.training.defense import Trained
from membrane.training.keys import TrainFunction
from membrane.training.memory import asking_memory, function_memory, measured, steady
from membrane.training.recipe import Recipe
from membrane.training.trainings import train_model


def is_released(key: str, store: Store, readings: Sequence[Reading]) -> bool:
    """Whether signals and readings lie in the store."""
    return store.has("release", key) and all(store.has("reading", _reading_key(key, one)) for one in readings)


def release(
    trains: Sequence[Recipe | TrainFunction],
    keys: Sequence[str],
    task: Task,
    store: Store,
    seed: int,
    row: int,
    readings: Sequence[Reading],
    progress: Progress,
) -> None:
    """Make a model, once for all that it is released under, and keep each release's signals and what is read off it.

    A recipe's model is asked on the device that it was trained on, a function's where the function leaves it.

    Args:
        trains: Recipes of one training, or one function.
        keys: Of their releases; those that are in the store already are left alone.
        task: Data and membership.
        store: Where trainings and releases lie.
        seed: Of the fleet.
        row: Which model.
        readings: What to read off it beyond its signals.
        progress: Told of epochs, if it has to be trained.

    Raises:
        ModelError: If a function's model does not fit the data, or answers the same input differently.
        OutOfMemoryError: If memory runs out, saying where and what to change.
    """
    first = trains[0]
    trained = train_model(first, task, store, seed, row, progress) if isinstance(first, Recipe) else None
    for train, key in zip(trains, keys, strict=True):
        if is_released(key, store, readings):
            continue
        model, facts = _made(train, trained, task, seed, row)
        with asking_memory("asking it"), at_work(model) if isinstance(train, Recipe) else nullcontext():
            _keep(model, facts, key, task, store, seed, row, readings)


def _keep(
    model: nn.Module,
    facts: Mapping[str, Any],
    key: str,
    task: Task,
    store: Store,
    seed: int,
    row: int,
    readings: Sequence[Reading],
) -> None:
    """Ask a released model everything, and keep what it says."""
    for reading in readings:  # all of them: a function may not make the same model twice
        with asking_memory(f"reading {reading.name!r}"):
            found = reading(model, task.pool, task.test, torch_generator(seed, "reading", reading.key, row))
            columns = reading.columns(model, task.pool)
        parts = {part: torch.from_numpy(values) for part, values in zip(("pool", "test"), found, strict=True)}
        about = {"row": row, "reading": to_plain(reading), "columns": columns}
        store.save("reading", _reading_key(key, reading), parts, about)
    tensors = {f"pool/{kind}": array for kind, array in measured(model, task.pool, task.queries).arrays().items()}
    tensors |= {f"test/{kind}": array for kind, array in measured(model, task.test, task.queries).arrays().items()}
    store.save("release", key, tensors, {"row": row, **facts})


def released(key: str, store: Store, readings: Sequence[Reading]) -> tuple[Signals, Signals, Mapping[str, Any]]:
    """Signals and readings on pool and test, and facts, of a model that is in the store."""
    entry = store.load("release", key)
    entries = {one.key: store.load("reading", _reading_key(key, one)) for one in readings}
    read = {name: one.tensors for name, one in entries.items()}
    columns = {"columns": {one.key: entries[one.key].facts.get("columns", ()) for one in readings}}
    pool, test = (
        Signals.of(
            {kind: entry.tensors[f"{part}/{kind}"].numpy() for kind in SIGNAL_KINDS},
            {name: tensors[part].numpy() for name, tensors in read.items()},
        )
        for part in ("pool", "test")
    )
    return pool, test, entry.facts | columns if readings else entry.facts


def _reading_key(release: str, reading: Reading) -> str:
    return fingerprint([release, reading.key])


def _made(
    train: Recipe | TrainFunction, trained: Trained | None, task: Task, seed: int, row: int
) -> tuple[nn.Module, Mapping[str, Any]]:
    if isinstance(train, Recipe):
        assert trained is not None
        with asking_memory(f"releasing it under {train.defense.name!r}"):
            finished = train.defense.finish(trained, torch_generator(seed, "finish", row))
        facts = {"defense": dict(finished.facts), "train_seconds": trained.seconds}
        return train.defense.release(finished.model), facts
    with function_memory(f"{getattr(train, '__name__', 'train')}()"):
        model = train(task.members(row), task.holdout, torch_generator(seed, "model", row))
    if not isinstance(model, nn.Module):
        raise ModelError(f"train() returned {type(model).__name__}; it must return the trained nn.Module.")
    steady(model, task.pool)
    return model, {}
