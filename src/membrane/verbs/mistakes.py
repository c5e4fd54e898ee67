"""What would stop pipelines on a task, known before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from membrane.core.generators import torch_generator
from membrane.core.settings import did_you_mean
from membrane.data import Task
from membrane.data.loader import as_inputs
from membrane.pptp import FrozenPlan, GradientRouting, RegionWindow, RewindRefit
from membrane.regions import partition
from membrane.training import Defense, Recipe
from membrane.training.check import training_mistakes
from membrane.verbs.estimate import MOST_PARAMETERS, n_parameters
from membrane.verbs.results import Train


def pipeline_mistakes(trains: Mapping[str, Train], task: Task) -> list[str]:
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
