"""What is wrong with a training, found before any of it runs."""

from __future__ import annotations

import torch

from membrane.core.errors import ModelError, collected
from membrane.core.generators import torch_generator
from membrane.data.loader import as_inputs
from membrane.data.task import Task
from membrane.models import start_from
from membrane.training.fleet import TrainFunction
from membrane.training.part import TrainedPart
from membrane.training.recipe import Recipe


def training_mistakes(train: Recipe | TrainFunction, task: Task) -> list[str]:
    """What would stop this training or its defense, one sentence each; empty if nothing is known to."""
    if not isinstance(train, Recipe):
        return [] if callable(train) else [f"train is a {type(train).__name__}; give a Recipe or a function."]
    n_members = int(task.membership.sum(1).min())
    found = train.defense.mistakes(train, n_members, task.n_holdout)
    shape = tuple(task.pool.x.shape[1:])
    if train.augment and len(shape) != 3:
        found.append("augment flips and crops images; these inputs are features. Set augment = false.")
    try:
        with torch.device("meta"):
            train.model.network(shape, len(task.pool.classes))
    except ModelError as problem:
        found.append(str(problem))
    if not found:
        found += train.defense.data_mistakes(train, task.members(0), task.holdout)
    if not found and (train.start is not None or train.trainable is not None):
        with collected(found):
            _begin(train, task)
    return found


def _begin(train: Recipe, task: Task) -> None:
    """What a fine-tuning does before its first update, on a model that is thrown away."""
    members = task.members(0)
    model = train.model.build(members, torch_generator(0))
    if train.start is not None:
        start_from(model, train.start, len(members.classes))
    TrainedPart(model, train.trainable, train.lora, as_inputs(members.x[:2]), torch_generator(0)).release()
