"""What an audit will take, known before any long work: models, seconds, memory, disk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from membrane.core.device import described, n_gpus, working_device
from membrane.core.errors import DataError, SettingError, TrainingError, collected
from membrane.core.memory import free_bytes
from membrane.core.settings import fingerprint
from membrane.core.store import Store
from membrane.core.text import duration, megabytes
from membrane.core.values import SIGNAL_KINDS
from membrane.data import Examples, Task
from membrane.data.loader import batches_of
from membrane.data.queries import ways
from membrane.models import at_work, signals_of
from membrane.pptp import PPTP
from membrane.readings import Reading
from membrane.regions.trail import kept_epochs
from membrane.training import Defense, Recipe, Trained, fit
from membrane.training.costs import cost_of
from membrane.training.engines import Engine, InProcess
from membrane.training.fleet import finished_rows, stack_size
from membrane.training.keys import stacks, training_key
from membrane.training.memory import need_of
from membrane.training.stacked import fit_stack
from membrane.training.threads import processors
from membrane.verbs.results import Train

MOST_PARAMETERS = 10**10
_TRIAL_BATCHES, _TRIAL_EPOCHS = 8, 3


@dataclass(frozen=True)
class Estimate:
    """What an audit will take here, about.

    Args:
        n_models: Models for each pipeline.
        n_trainings: Models to train, or calls of the user's functions, that are not finished yet.
        seconds: Of training, choosing and asking; loading, scoring and the bootstrap come on top. None if not known.
        unknown: Why ``seconds`` is None; empty if it is not.
        memory: Bytes beside PyTorch and the data themselves; None for functions, which are not tried.
        free_memory: Bytes of memory that can be had; None if the system does not tell.
        disk: Bytes in the store; without what a user's function writes.
        free_disk: Bytes free there; None where nobody can tell, as on object storage.
        n_threads: That torch computes with, for each model.
        at_once: Models that are trained at the same time.
        device: That they are trained on, and whose memory is meant; "cpu", or a GPU with its name.
    """

    n_models: int
    n_trainings: int
    seconds: float | None
    unknown: str
    memory: int | None
    free_memory: int | None
    disk: int
    free_disk: int | None
    n_threads: int
    at_once: int = 1
    device: str = "cpu"

    @property
    def tight(self) -> tuple[str, ...]:
        """What there is too little of, a sentence each."""
        found = []
        if self.memory is not None and self.free_memory is not None and self.memory > self.free_memory:
            found.append(
                f"About {megabytes(self.memory)} of memory are needed, {megabytes(self.free_memory)} are free."
            )
        if self.free_disk is not None and self.disk > self.free_disk:
            found.append(f"About {megabytes(self.disk)} on disk are needed, {megabytes(self.free_disk)} are free.")
        return tuple(found)

    def __str__(self) -> str:
        if not self.n_trainings:
            return "all models are finished"
        time = f"time unknown ({self.unknown})" if self.seconds is None else f"about {duration(self.seconds)}"
        memory = "" if self.memory is None else f", {megabytes(self.memory)} of memory"
        together = "" if self.at_once == 1 else f", {self.at_once} at a time"
        where = f" on {self.device}{together}"
        text = f"{self.n_trainings} models to train{where}: {time}{memory}, {megabytes(self.disk)} on disk"
        return " ".join([text, *(f"TOO LITTLE: {one}" for one in self.tight)])


def estimate_task(
    trains: Mapping[str, Train],
    task: Task,
    store: Store | None = None,
    seed: int = 0,
    readings: Sequence[Reading] = (),
    engine: Engine | None = None,
) -> Estimate:
    """What an audit of these pipelines on this task takes.

    Seconds come from a few batches that are trained here; a user's function is not tried.

    Args:
        trains: By label.
        task: Data and membership.
        store: Where finished models lie, which are not counted; room is looked for in the working folder if not given.
        seed: Of the audit, which finished models are known by.
        readings: What is read off every model beyond its signals.
        engine: That trains; one model after the other if not given.

    Raises:
        SettingError: If the engine's device is not there.
    """
    engine = engine or InProcess()
    with engine.entered():
        return _estimate(trains, task, store, seed, readings, engine)


def _estimate(
    trains: Mapping[str, Train],
    task: Task,
    store: Store | None,
    seed: int,
    readings: Sequence[Reading],
    engine: Engine,
) -> Estimate:
    left = {label: _unfinished(label, train, task, store, seed, readings) for label, train in trains.items()}
    calls = sum(len(rows) for label, rows in left.items() if not isinstance(trains[label], Recipe))
    seconds, unknown, n_trainings, memory = 0.0, "", calls, 0
    device = working_device()
    here = device.type != "cuda" or n_gpus() > 0
    for labels, recipe in trainings(trains).items():
        rows = sorted({row for label in labels for row in left[label]})
        to_train = [row for row in rows if not _trained(recipe, task, store, seed, row)]
        n_trainings += len(to_train)
        if not rows:
            continue
        stack = stack_size(recipe, task, len(to_train), engine.at_once(len(to_train) or 1, torch.get_num_threads()))
        memory = max(memory, stack * need_of(recipe, task.members(0)).bytes_of(recipe.batch_size))
        if not here:
            unknown = f"models train on {device}, which other machines have"
            continue
        tried = _tried(recipe, task, stack)
        if tried is None:
            unknown = "the first batches diverged, so lr may be too high"
            continue
        per_batch, per_question = tried
        n_batches = len(batches_of(torch.arange(int(task.membership[0].sum())), recipe.batch_size))
        searched = sum(
            len(left[label]) * _examples_to_choose(one.defense, task.n_holdout)
            for label in labels
            if isinstance(one := trains[label], Recipe)
        )
        seconds += per_batch * n_batches * epochs_of(recipe) * len(to_train)
        asked = sum(len(left[label]) for label in labels) * questions(task, readings)
        seconds += per_question * (searched + asked)
    n_threads = torch.get_num_threads()
    at_once = engine.at_once(max(n_trainings, 1), n_threads)
    lanes = max(processors() // n_threads, 1) if device.type == "cpu" else engine.n_devices
    pace = min(at_once, lanes)  # what shares processors, or a GPU, is not faster
    if calls:
        unknown = "only your function knows how long it takes"
    return Estimate(
        n_models=len(task.membership),
        n_trainings=n_trainings,
        seconds=None if unknown else seconds / pace,
        unknown=unknown,
        memory=None if calls else memory * at_once + _signal_bytes(task),
        free_memory=free_bytes(device) if here else None,
        disk=disk_bytes(trains, task),
        free_disk=(store or Store(Path())).files.free_bytes(),
        n_threads=n_threads,
        at_once=at_once,
        device=described(device),
    )


def _unfinished(
    label: str, train: Train, task: Task, store: Store | None, seed: int, readings: Sequence[Reading]
) -> list[int]:
    finished = set() if store is None else set(finished_rows(train, task, store, seed, label, readings=readings))
    return [row for row in range(len(task.membership)) if row not in finished]


def _trained(recipe: Recipe, task: Task, store: Store | None, seed: int, row: int) -> bool:
    return store is not None and store.has("training", training_key(recipe, task, seed, row))


def trainings(trains: Mapping[str, Train]) -> dict[tuple[str, ...], Recipe]:
    """Different trainings, each with the labels of the defenses that start from it; none for a user's function."""
    labels: dict[str, tuple[str, ...]] = {}
    recipes: dict[str, Recipe] = {}
    for label, train in trains.items():
        if isinstance(train, Recipe):
            key = fingerprint(train.training_settings())
            labels[key] = (*labels.get(key, ()), label)
            recipes.setdefault(key, train)
    return {labels[key]: recipe for key, recipe in recipes.items()}


def questions(task: Task, readings: Sequence[Reading] = ()) -> int:
    """Inputs that each model answers: pool and test, in all ways, and whatever readings ask."""
    each = len(ways(task.queries)) + sum(reading.queries for reading in readings)
    return each * (len(task.pool) + len(task.test))


def disk_bytes(trains: Mapping[str, Train], task: Task) -> int:
    """Bytes in the store, about: final weights and trail once for each training, signals for each pipeline."""
    weights = 0
    for recipe in trainings(trains).values():
        kept = len(kept_epochs(epochs_of(recipe), recipe.keep))
        weights += 4 * (n_parameters(recipe, task) or 0) * (2 * kept + 1)
    return weights * len(task.membership) + _signal_bytes(task) * len(trains)


def _signal_bytes(task: Task) -> int:
    return 4 * len(SIGNAL_KINDS) * questions(task) * len(task.membership)


def n_parameters(recipe: Recipe, task: Task) -> int | None:
    """Parameters of the network; 0 if it does not fit the data, None if they are too many to be meant."""
    net: nn.Module = nn.Identity()
    try:
        with collected([]), torch.device("meta"):  # nothing is allocated; a misfit is told elsewhere
            net = recipe.model.network(tuple(task.pool.x.shape[1:]), len(task.pool.classes))
    except (RuntimeError, OverflowError):
        return None
    n = sum(parameter.numel() for parameter in net.parameters())
    return n if n <= MOST_PARAMETERS else None


def epochs_of(recipe: Recipe) -> int:
    """Epochs of the training that a recipe's defense starts from."""
    return recipe.defense.trained_as().adapt(recipe).n_epochs


def _tried(recipe: Recipe, task: Task, stack: int) -> tuple[float, float] | None:
    """Seconds of a model's update, in a stack of so many if it is trained in one, and of one answer.

    Measured on a few batches, after one that is not counted; None if they diverge.
    """
    trained_as = recipe.with_defense(recipe.defense.trained_as())
    short = dataclasses.replace(trained_as, epochs=_TRIAL_EPOCHS, stop=None, compile=False)
    members = task.members(0)
    some = members[: min(len(members), _TRIAL_BATCHES * recipe.batch_size)]

    def trained(own: Examples) -> Trained:
        if stacks(recipe, task):
            return fit_stack(short, [own] * stack, task.holdout, range(stack))[0]
        return fit(short, own, task.holdout, 0)

    try:
        trained(some[: recipe.batch_size])
        start = time.perf_counter()
        model = trained(some).model
    except TrainingError:  # the warm-up is shorter than in the real run
        return None
    except (SettingError, DataError):  # so few members do not do for this defense: reckon from what it cost elsewhere
        plain, cost = _tried(recipe.with_defense(Defense()), task, stack), cost_of(recipe.defense.trained_as().name)
        return None if plain is None else (plain[0] * (1.0 if cost is None else cost.training), plain[1])
    ended = time.perf_counter()
    with at_work(model):
        signals_of(model, some)
    n_updates = len(batches_of(torch.arange(len(some)), recipe.batch_size)) * epochs_of(short) * stack
    return (ended - start) / n_updates, (time.perf_counter() - ended) / len(some)


def _examples_to_choose(defense: Defense, n_holdout: int) -> int:
    """Examples through a search: half the holdout, as many members and 500 to recalibrate on, each candidate."""
    return defense.max_candidates * (n_holdout + 500) if isinstance(defense, PPTP) else 0
