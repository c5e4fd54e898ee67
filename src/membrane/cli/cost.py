"""What a run will resolve and what it will cost: trials, trainings, bytes and seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from membrane.cli.config import Run
from membrane.cli.preflight import n_parameters
from membrane.core.errors import NotEnoughDataError, TrainingError
from membrane.core.settings import fingerprint
from membrane.core.values import SIGNAL_KINDS
from membrane.data import Task
from membrane.data.loader import batches_of
from membrane.metrics.roc import check_resolvable
from membrane.pptp import PPTP
from membrane.regions.trail import kept_epochs
from membrane.training import Defense, Recipe, fit
from membrane.verbs.measure import FPRS

_FALSE_POSITIVES = 10  # that a rate must amount to, as in the metrics
_TRIAL_BATCHES, _TRIAL_EPOCHS = 8, 3
_FORWARD_SHARE = 1 / 3  # of a training step: the backward pass costs about two forward passes

Trainings = Mapping[tuple[str, ...], Recipe]


def non_member_trials(task: Task) -> dict[str, int]:
    """Non-member trials of each slice, over all models: every example is OUT of one model of each pair."""
    canaries = len(task.canaries)
    sizes = {"population": len(task.pool) - canaries, "canaries": canaries}
    return {name: size * (len(task.membership) // 2) for name, size in sizes.items() if size}


def missing_trials(n_trials: int) -> dict[float, int]:
    """For each false-positive rate of a report, the trials that it needs, or 0 if ``n_trials`` are enough."""
    answers: dict[float, int] = {}
    for fpr in FPRS:
        try:
            check_resolvable(fpr, n_trials, _FALSE_POSITIVES)
            answers[fpr] = 0
        except NotEnoughDataError:
            answers[fpr] = round(_FALSE_POSITIVES / fpr)
    return answers


def trainings(run: Run) -> dict[tuple[str, ...], Recipe]:
    """Different trainings, each with the labels of the defenses that start from it; none for a user's function."""
    labels: dict[str, tuple[str, ...]] = {}
    recipes: dict[str, Recipe] = {}
    for label, train in run.trains.items():
        if isinstance(train, Recipe):
            key = fingerprint(train.training_settings())
            labels[key] = (*labels.get(key, ()), label)
            recipes.setdefault(key, train)
    return {labels[key]: recipe for key, recipe in recipes.items()}


def disk_bytes(run: Run, task: Task) -> int:
    """Bytes in the run folder, about: final weights and trail once for each training, signals for each defense."""
    signals = len(SIGNAL_KINDS) * (len(task.pool) + len(task.test)) * 4 * len(run.trains)
    weights = 0
    for recipe in trainings(run).values():
        kept = len(kept_epochs(_epochs(recipe), recipe.keep))
        weights += 4 * (n_parameters(recipe, task) or 0) * (kept + 1)
    return (signals + weights) * len(task.membership)


def estimate_seconds(run: Run, task: Task) -> float | None:
    """Seconds that training and choosing will take here, from a few batches trained for real.

    Loading, scoring and the bootstrap come on top. None for a user's function, which is not tried, and where the
    few batches diverge.
    """
    total = 0.0
    n_members = int(task.membership[0].sum())
    different = trainings(run)
    for labels, recipe in different.items():
        per_batch = _seconds_per_batch(recipe, task)
        if per_batch is None:
            return None
        n_batches = len(batches_of(torch.arange(n_members), recipe.batch_size))
        forward = sum(_examples_to_choose(run.defenses[label], task.n_holdout) for label in labels)
        total += per_batch * (n_batches * _epochs(recipe) + _FORWARD_SHARE * forward / recipe.batch_size)
    return total * len(task.membership) if different else None


def _epochs(recipe: Recipe) -> int:
    return recipe.defense.adapt(recipe).epochs


def _seconds_per_batch(recipe: Recipe, task: Task) -> float | None:
    """Measured on a few batches, after one that is not counted; None if they diverge."""
    short = dataclasses.replace(recipe, epochs=_TRIAL_EPOCHS, compile=False, defense=recipe.defense.trained_as())
    members = task.members(0)
    some = members[: min(len(members), _TRIAL_BATCHES * recipe.batch_size)]
    try:
        fit(short, some[: recipe.batch_size], task.holdout, 0)
        seconds = fit(short, some, task.holdout, 0).seconds
    except TrainingError:  # the warm-up is shorter than in the real run
        return None
    return seconds / len(batches_of(torch.arange(len(some)), recipe.batch_size)) / _epochs(short)


def _examples_to_choose(defense: Defense, n_holdout: int) -> int:
    """Examples through a search: half the holdout, as many members and 500 to recalibrate on, each candidate."""
    return defense.max_candidates * (n_holdout + 500) if isinstance(defense, PPTP) else 0
