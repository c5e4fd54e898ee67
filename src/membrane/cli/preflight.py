"""What is wrong with a run, found before any model is trained."""

from __future__ import annotations

from dataclasses import dataclass

from membrane.attacks import Attack
from membrane.cli.config import Run
from membrane.core.errors import collected, raise_all
from membrane.core.progress import Progress, silent
from membrane.data import Task
from membrane.data.membership import references_each
from membrane.verbs.mistakes import pipeline_mistakes
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
    return run.sizes.draw(run.data, run.seed, n_models, canaries)
