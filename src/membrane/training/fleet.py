"""The fleet: every model of a bank trained through the whole pipeline, stored as it finishes, never trained twice.

Two keys decide what is reused. The *training key* covers data, split, recipe, training-time defense, seed,
versions and thread count; under it lie final weights and trail. The *release key* adds what a defense does
afterwards; under it lie the signals. Undefended, early stopping, every mix and every output defense share
one training.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from membrane.core.errors import ModelError, OutOfMemoryError, SettingError, StoreError
from membrane.core.generators import derive_seed, torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store
from membrane.core.values import SIGNAL_KINDS, Signals
from membrane.data.task import Task
from membrane.models import laid_out
from membrane.readings import Reading
from membrane.regions import Trail, copy_state, load_state
from membrane.training.defense import Defense, Trained
from membrane.training.divergence import DivergedError
from membrane.training.engines import Engine, engine_of
from membrane.training.identity import identity
from membrane.training.loop import fit
from membrane.training.memory import function_memory, measured, steady
from membrane.training.origins import home_of
from membrane.training.parts import Keep
from membrane.training.recipe import TRAINING_VERSION, Recipe
from membrane.training.stacked import STACK, fit_stack, stackable
from membrane.training.threads import threads

RELEASE_VERSION = 2  # raise when a change alters what defenses do after training, or signals
TrainFunction = Callable[..., nn.Module]


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
        SettingError: If ``rows`` names no model, or ones that the task does not have; or if the engine cannot send
            ``train`` where it has to go.
    """
    chosen = _rows(rows, len(task.membership))
    function = function or identity_of(train)  # once: counters in it must not change keys
    made = engine_of(engine)
    made.refuse(train)
    with threads(made.threads or torch.get_num_threads()):
        keys = {row: release_key(train, task, seed, row, function, label) for row in chosen}
        job = FleetJob(train, task, Store(store.root.absolute()), seed, keys, tuple(readings))
        missing = [row for row in chosen if not job.is_done(row)]
        job = job.stacked(missing, made.at_once(len(missing), torch.get_num_threads()))
        sizes = {stack[0]: len(stack) for stack in job.stacks}
        made.run(job, list(sizes), torch.get_num_threads(), _Tally(progress, len(chosen) - len(missing), sizes))
        _refuse_lost([row for row in missing if not job.is_done(row)], store)
        releases = [_released(keys[row], store, readings) for row in chosen]
    return Bank(
        Signals.stack([signals for signals, _, _ in releases]),
        Signals.stack([signals for _, signals, _ in releases]),
        tuple(facts for _, _, facts in releases),
    )


@dataclass(frozen=True)
class FleetJob:
    """Finishes one model of a fleet after the other, or a stack of them at a time, wherever it is sent.

    Args:
        train: As in ``train_fleet``, like all others.
        task: Data and membership.
        store: Where finished models lie.
        seed: Of the fleet.
        keys: Of the models' releases, by row.
        readings: What is read off every model.
        stacks: Models that are trained together; the first of each stands for all.
    """

    train: Recipe | TrainFunction
    task: Task
    store: Store
    seed: int
    keys: Mapping[int, str]
    readings: tuple[Reading, ...]
    stacks: tuple[tuple[int, ...], ...] = ()

    def stacked(self, rows: Sequence[int], at_once: int) -> FleetJob:
        """The same for these models, in stacks where that is faster, one for each that trains at once at least."""
        if not isinstance(self.train, Recipe) or not stacks(self.train, self.task):
            return replace(self, stacks=tuple((row,) for row in rows))
        most = min(STACK, math.ceil(len(rows) / at_once) or 1)
        sizes = self.task.membership.sum(1)  # a stack goes through as many batches with all of its models
        alike = [[row for row in rows if sizes[row] == size] for size in sorted({int(sizes[row]) for row in rows})]
        return replace(
            self, stacks=tuple(tuple(some[i : i + most]) for some in alike for i in range(0, len(some), most))
        )

    @property
    def home(self) -> str | None:
        """Folder that a user's function is imported from."""
        return None if isinstance(self.train, Recipe) else home_of(self.train)

    def is_done(self, row: int) -> bool:
        """Whether the model's signals and readings lie in the store."""
        return _is_released(self.keys[row], self.store, self.readings)

    def __call__(self, row: int, progress: Progress) -> None:
        """Train and release the models that the row stands for, as far as nobody was quicker."""
        left = [one for stack in self.stacks if stack[0] == row for one in stack if not self.is_done(one)]
        if isinstance(self.train, Recipe) and len(left) > 1:
            _train_stack(self.train, self.task, self.store, self.seed, left, progress)
        for done, one in enumerate(left, 1):
            _release(self.keys[one], self.train, self.task, self.store, self.seed, one, progress, self.readings)
            if done < len(left):  # of the last its engine tells
                progress("models", done, len(left))


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
            f"models {rows} were trained, and {store.root} does not hold them: on a cluster the run folder has to lie "
            "under one path that all machines share."
        )


def identity_of(train: Recipe | TrainFunction) -> str | None:
    """Identity of a user's function; None for a recipe, whose settings say all."""
    return None if isinstance(train, Recipe) else identity(train)


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
    return [row for row, key in enumerate(keys) if _is_released(key, store, readings)]


def _rows(rows: Iterable[int] | None, n_models: int) -> list[int]:
    chosen = list(range(n_models)) if rows is None else list(rows)
    wrong = [row for row in chosen if not 0 <= row < n_models]
    if wrong or not chosen:
        raise SettingError(
            f"rows are {chosen}; the task has models 0 to {n_models - 1}, and one at least must be named."
        )
    return chosen


def train_model(recipe: Recipe, task: Task, store: Store, seed: int, row: int, progress: Progress = silent) -> Trained:
    """One model of the task before its release, from the store or trained now."""
    return _trained(recipe, task, store, seed, row, progress)


def _is_released(key: str, store: Store, readings: Sequence[Reading]) -> bool:
    return store.has("release", key) and all(store.has("reading", _reading_key(key, one)) for one in readings)


def _release(
    key: str,
    train: Recipe | TrainFunction,
    task: Task,
    store: Store,
    seed: int,
    row: int,
    progress: Progress,
    readings: Sequence[Reading],
) -> None:
    """Make a model and keep its signals, and what is read off it."""
    model, facts = _make(train, task, store, seed, row, progress)
    for reading in readings:  # all of them: a function may not make the same model twice
        found = reading(model, task.pool, task.test, torch_generator(seed, "reading", reading.key, row))
        parts = {part: torch.from_numpy(values) for part, values in zip(("pool", "test"), found, strict=True)}
        about = {"row": row, "reading": to_plain(reading), "columns": reading.columns(model, task.pool)}
        store.save("reading", _reading_key(key, reading), parts, about)
    tensors = {f"pool/{kind}": array for kind, array in measured(model, task.pool, task.queries).arrays().items()}
    tensors |= {f"test/{kind}": array for kind, array in measured(model, task.test, task.queries).arrays().items()}
    store.save("release", key, tensors, {"row": row, **facts})


def _released(key: str, store: Store, readings: Sequence[Reading]) -> tuple[Signals, Signals, Mapping[str, Any]]:
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


def _make(
    train: Recipe | TrainFunction, task: Task, store: Store, seed: int, row: int, progress: Progress
) -> tuple[nn.Module, Mapping[str, Any]]:
    if not isinstance(train, Recipe):
        with function_memory(f"{getattr(train, '__name__', 'train')}()"):
            model = train(task.members(row), task.holdout, torch_generator(seed, "model", row))
        if not isinstance(model, nn.Module):
            raise ModelError(f"train() returned {type(model).__name__}; it must return the trained nn.Module.")
        steady(model, task.pool)
        return model, {}
    trained = _trained(train, task, store, seed, row, progress)
    finished = train.defense.finish(trained, torch_generator(seed, "finish", row))
    return train.defense.release(finished.model), {"defense": dict(finished.facts), "train_seconds": trained.seconds}


def _trained(recipe: Recipe, task: Task, store: Store, seed: int, row: int, progress: Progress) -> Trained:
    key = training_key(recipe, task, seed, row)
    members = task.members(row)
    if not store.has("training", key) and stacks(recipe, task):
        _train_stack(recipe, task, store, seed, [row], progress)
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


def _keep_training(store: Store, key: str, row: int, trained: Trained) -> None:
    tensors = {f"final/{name}": value for name, value in copy_state(trained.model).items()}
    tensors |= {f"trail/{name}": value for name, value in trained.trail.tensors().items()}
    store.save("training", key, tensors, {"n_epochs": trained.trail.n_epochs, "seconds": trained.seconds, "row": row})


def _train_stack(recipe: Recipe, task: Task, store: Store, seed: int, rows: Sequence[int], progress: Progress) -> None:
    """Train models together and keep them, as far as they are not in the store."""
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
            _train_stack(recipe, task, store, seed, half, progress)
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


def stacks(recipe: Recipe, task: Task) -> bool:
    """Whether models of this recipe are trained together."""
    return stackable(recipe, tuple(task.pool.x.shape[1:]), len(task.pool.classes), torch.get_num_threads())


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
            where = f" They lie in {store.path('diverged', key).with_suffix('.safetensors')}."
    said = f"model {row}: {problem}{where} Models finished before are kept."
    return DivergedError(said, problem.epoch, problem.last_good)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def training_key(recipe: Recipe, task: Task, seed: int, row: int) -> str:
    """Key of a trained model: equal exactly when training it again would give the same bits."""
    holdout = task.holdout if recipe.defense.trained_as().trains_on_holdout else None
    return fingerprint(
        {
            "recipe": recipe.training_settings(),
            "members": task.members(row).checksum(),
            "seed": seed,
            "row": row,
            "version": TRAINING_VERSION,
            **({} if holdout is None else {"holdout": holdout.checksum()}),
            **({"stacked": True} if stacks(recipe, task) else {}),
            **_environment(),
        }
    )


def _environment() -> dict[str, Any]:
    """What the same code may compute other bits under."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}


def release_key(
    train: Recipe | TrainFunction, task: Task, seed: int, row: int, function: str | None = None, label: str = ""
) -> str:
    """Key of a released model's signals; ``function`` is the identity of a user's function, if known already."""
    measured = {"task": task.checksum(), "release_version": RELEASE_VERSION}
    measured |= {} if task.queries == "identity" else {"queries": task.queries}
    if isinstance(train, Recipe):
        released = {"training": training_key(train, task, seed, row), "defense": to_plain(train.defense)}
        return fingerprint(measured | released)
    members = task.members(row).checksum()
    named = {"function": function or identity(train), "label": label, "members": members, "seed": seed, "row": row}
    return fingerprint(measured | named | {"version": TRAINING_VERSION, **_environment()})


def shares_training(a: Defense, b: Defense) -> bool:
    """Whether two defenses start from one training."""
    return bool(to_plain(a.trained_as()) == to_plain(b.trained_as()))
