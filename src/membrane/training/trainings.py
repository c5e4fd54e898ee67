"""Trainings of a fleet: found in the store, or made there, alone or in a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import torch

from membrane.core.errors import OutOfMemoryError, StoreError
from membrane.core.generators import derive_seed, torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.settings import fingerprint
from membrane.core.store import Store
from membrane.data.task import Task
from membrane.models import laid_out
from membrane.regions import Trail, copy_state, load_state
from membrane.training.defense import Trained
from membrane.training.divergence import DivergedError
from membrane.training.keys import stacks, training_key
from membrane.training.loop import fit
from membrane.training.parts import Keep
from membrane.training.recipe import Recipe
from membrane.training.stacked import fit_stack


def train_model(recipe: Recipe, task: Task, store: Store, seed: int, row: int, progress: Progress = silent) -> Trained:
    """One model of the task before its release, from the store or trained now.

    Raises:
        DivergedError: If training diverges; the last good weights are put into the store, under the kind "diverged".
    """
    key = training_key(recipe, task, seed, row)
    members = task.members(row)
    if not store.has("training", key) and stacks(recipe, task):
        train_stack(recipe, task, store, seed, [row], progress)
    elif not store.has("training", key):
        try:
            trained = fit(
                recipe,
                members,
                task.holdout,
                derive_seed(seed, "model", row),
                on_epoch=lambda done, total: progress("epochs", done, total),
                keep=_keeper(store, key, row),
            )
        except DivergedError as problem:
            raise _kept(problem, store, key, row) from problem
        _keep_training(store, key, row, trained)
    entry = store.load("training", key)
    model = recipe.model.build(members, torch_generator(0))
    if members.x.ndim == 4:
        model = laid_out(model)
    load_state(model, _under("final/", entry.tensors))
    trail = Trail.from_tensors(_under("trail/", entry.tensors), entry.facts["n_epochs"])
    adapted = recipe.defense.trained_as().adapt(recipe)
    return Trained(model.eval(), trail, members, task.holdout, entry.facts["seconds"], adapted)


def train_stack(recipe: Recipe, task: Task, store: Store, seed: int, rows: Sequence[int], progress: Progress) -> None:
    """Train models together and keep them, as far as they are not in the store.

    Raises:
        DivergedError: If one diverges, naming it.
        OutOfMemoryError: If even one of them does not fit.
    """
    keys = {row: training_key(recipe, task, seed, row) for row in rows}
    left = [row for row in rows if not store.has("training", keys[row])]
    if not left:
        return
    members, seeds = [task.members(row) for row in left], [derive_seed(seed, "model", row) for row in left]
    try:
        found = fit_stack(recipe, members, task.holdout, seeds, lambda done, total: progress("epochs", done, total))
    except OutOfMemoryError:
        if len(left) == 1:
            raise
        for half in (left[::2], left[1::2]):
            train_stack(recipe, task, store, seed, half, progress)
        return
    except DivergedError:
        for row, own, own_seed in zip(left, members, seeds, strict=True):  # which one was it?
            try:
                fit(recipe, own, task.holdout, own_seed)
            except DivergedError as problem:
                raise _kept(problem, store, keys[row], row) from problem
        raise
    for row, trained in zip(left, found, strict=True):
        _keep_training(store, keys[row], row, trained)


def _keep_training(store: Store, key: str, row: int, trained: Trained) -> None:
    tensors = {f"final/{name}": value for name, value in copy_state(trained.model).items()}
    tensors |= {f"trail/{name}": value for name, value in trained.trail.tensors().items()}
    store.save("training", key, tensors, {"n_epochs": trained.trail.n_epochs, "seconds": trained.seconds, "row": row})


def _keeper(store: Store, key: str, row: int) -> Keep:
    """Keeps parts of an unfinished training in the store, under the kind "part"."""

    def keep(name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        own = fingerprint([key, name])
        if not store.has("part", own):
            store.save("part", own, {"part": make()}, {"row": row, "name": name})
        return store.load("part", own).tensors["part"]

    return keep


def _kept(problem: DivergedError, store: Store, key: str, row: int) -> DivergedError:
    """The error again, saying which model it was and where its last good weights are."""
    where = ""
    if problem.last_good is not None:
        facts = {"row": row, "epoch": problem.epoch, "problem": str(problem)}
        with suppress(StoreError):  # the divergence is what counts
            store.save("diverged", key, problem.last_good, facts)
            where = f" They lie in {store.path('diverged', key)}."
    said = f"model {row}: {problem}{where} Models finished before are kept."
    return DivergedError(said, problem.epoch, problem.last_good)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
