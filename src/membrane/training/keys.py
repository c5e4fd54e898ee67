"""What finished models are found by.

Two keys decide what is reused. The *training key* covers data, split, recipe, training-time defense, seed,
versions, thread count and device; under it lie final weights and trail. The *release key* adds what a defense does
afterwards; under it lie the signals. Undefended, early stopping, every mix and every output defense share
one training.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from membrane.core.device import working_device
from membrane.core.settings import fingerprint, to_plain
from membrane.data.task import Task
from membrane.training.defense import Defense
from membrane.training.identity import identity
from membrane.training.recipe import TRAINING_VERSION, Recipe
from membrane.training.stacked import stackable

RELEASE_VERSION = 2  # raise when a change alters what defenses do after training, or signals
TrainFunction = Callable[..., nn.Module]


def training_key(recipe: Recipe, task: Task, seed: int, row: int) -> str:
    """Key of a trained model: equal exactly when training it again would give the same bits."""
    holdout = task.holdout if recipe.defense.trained_as().trains_on_holdout else None
    return fingerprint(
        {
            "recipe": recipe.training_settings(),
            "members": task.members_checksum(row),
            "seed": seed,
            "row": row,
            "version": TRAINING_VERSION,
            **({} if holdout is None else {"holdout": holdout.checksum()}),
            **_environment(),
            **({"stacked": True, "threads": 1} if stacks(recipe, task) else {}),  # whatever others compute with
        }
    )


def release_key(
    train: Recipe | TrainFunction, task: Task, seed: int, row: int, function: str | None = None, label: str = ""
) -> str:
    """Key of a released model's signals; ``function`` is the identity of a user's function, if known already."""
    measured = {"task": task.checksum(), "release_version": RELEASE_VERSION}
    measured |= {} if task.queries == "identity" else {"queries": task.queries}
    if isinstance(train, Recipe):
        released = {"training": training_key(train, task, seed, row), "defense": to_plain(train.defense)}
        if stacks(train, task) and torch.get_num_threads() > 1:  # released with more than it was trained with
            released["threads"] = torch.get_num_threads()
        return fingerprint(measured | released)
    members = task.members_checksum(row)
    named = {"function": function or identity(train), "label": label, "members": members, "seed": seed, "row": row}
    return fingerprint(measured | named | {"version": TRAINING_VERSION, **_environment()})


def stacks(recipe: Recipe, task: Task) -> bool:
    """Whether models of this recipe are trained together: never on a GPU, stacks are made for the CPU."""
    if working_device().type != "cpu":
        return False
    recipe = recipe.with_defense(recipe.defense.trained_as())  # what acts later is not looked at, each time anew
    return stackable(recipe, tuple(task.pool.x.shape[1:]), len(task.pool.classes))


def identity_of(train: Recipe | TrainFunction) -> str | None:
    """Identity of a user's function; None for a recipe, whose settings say all."""
    return None if isinstance(train, Recipe) else identity(train)


def shares_training(a: Defense, b: Defense) -> bool:
    """Whether two defenses start from one training."""
    return bool(to_plain(a.trained_as()) == to_plain(b.trained_as()))


def _environment() -> dict[str, Any]:
    """What the same code may compute other bits under."""
    device = working_device().type
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        **({} if device == "cpu" else {"device": device}),  # trainings from before there was a choice keep their key
    }
