"""What is wrong with a run, found before any model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from membrane.attacks import Attack
from membrane.cli.config import Run
from membrane.core.errors import collected, raise_all
from membrane.core.generators import torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.settings import did_you_mean
from membrane.data import Task, make_task
from membrane.data.loader import as_inputs
from membrane.data.membership import references_each
from membrane.pptp import FrozenPlan, GradientRouting, RegionWindow, RewindRefit
from membrane.regions import partition
from membrane.training import Defense, Recipe
from membrane.training.check import training_mistakes
from membrane.training.fleet import TrainFunction
from membrane.verbs.estimate import MOST_PARAMETERS, n_parameters
from membrane.verbs.observe import choose_attacks, refuse_unreadable

_MOST_MODELS = 10_000


@dataclass(frozen=True)
class Preflight:
    """A run that can start.

    Args:
        run: Its settings.
        task: Its data, drawn.
        attacks: Those that will run.
    """

    run: Run
    task: Task
    attacks: list[Attack]


def examine(run: Run, progress: Progress = silent) -> Preflight:
    """The run with its data, if nothing is known to stop it.

    Args:
        run: A run file, checked.
        progress: Told of what has to be done to the data once.

    Raises:
        SettingError: Listing all that is wrong.
    """
    found = []
    n_models = run.sizes.references
    if n_models < 4 or n_models % 2 or n_models > _MOST_MODELS:
        found.append(f"audit: references is {n_models}; give an even number from 4 to {_MOST_MODELS:,}.")
        n_models = 4  # the rest is looked at all the same
    task = None
    attacks: list[Attack] = []
    with collected(found):
        task = draw(run, n_models, run.sizes.canaries, progress)
    if task is not None:
        with collected(found):
            n_each = references_each(n_models)
            attacks = choose_attacks(run.attacks, n_each, n_each, len(task.test))
            refuse_unreadable(attacks, task.pool, task.test)
        found += pipeline_mistakes(run.trains, task)
    raise_all(found)
    assert task is not None  # or there would be a mistake
    return Preflight(run, task, attacks)


def draw(run: Run, n_models: int, canaries: int, progress: Progress = silent) -> Task:
    """The run's data, split for so many models.

    Raises:
        DataError: If the data are too few or do not fit.
        SettingError: If images must be asked for in ways that inputs do not have.
    """
    run.data.prepare(progress)
    splits, sizes = run.data.load(), run.sizes
    pool = len(splits.train) - sizes.holdout if sizes.pool is None else sizes.pool
    return make_task(
        splits,
        n_models=n_models,
        pool=pool,
        holdout=sizes.holdout,
        canaries=canaries,
        seed=run.seed,
        canary_kind=sizes.canary_kind,
        allow_duplicates=sizes.allow_duplicates,
        near_duplicates=sizes.near_duplicates,
    ).asked(sizes.queries)


def pipeline_mistakes(trains: Mapping[str, Recipe | TrainFunction], task: Task) -> list[str]:
    """What would stop the trainings or their defenses; what is wrong with all of them is said once."""
    found: list[str] = []
    seen: set[str] = set()
    for label, train in trains.items():
        mistakes = _recipe_mistakes(train, task) if isinstance(train, Recipe) else training_mistakes(train, task)
        found += [f"{label}: {mistake}" for mistake in mistakes if mistake not in seen]
        seen.update(mistakes)
    return found


def _recipe_mistakes(recipe: Recipe, task: Task) -> list[str]:
    if n_parameters(recipe, task) is None:
        return [f"model {recipe.model.name!r} has more than {MOST_PARAMETERS:,} parameters; make it smaller."]
    found = training_mistakes(recipe, task)
    wanted = _regions_of(recipe.defense)
    if wanted and not found:
        net = recipe.model.build(task.members(0), torch_generator(0))
        names = partition(net, as_inputs(task.pool.x[:2])).names
        found += [
            f"there is no region {name!r}. {did_you_mean(name, names)}There are: {', '.join(names)}."
            for name in wanted
            if name not in names
        ]
    return found


def _regions_of(defense: Defense) -> tuple[str, ...]:
    """Names of regions that the settings mention."""
    if isinstance(defense, FrozenPlan):
        return defense.plan.regions
    return defense.regions if isinstance(defense, RegionWindow | GradientRouting | RewindRefit) else ()
