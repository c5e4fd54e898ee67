"""Attackers who know what a defense chose for the target: their references take that choice, not each its own.

A plan is no secret. References that chose for themselves are a poorer likeness of the target, and make a defense look
better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from membrane.attacks import Attack
from membrane.core.progress import Progress, silent
from membrane.core.store import Store
from membrane.data import Task
from membrane.training import Bank, Defense, Recipe, sweep_fleet
from membrane.training.engines import Engine
from membrane.training.fleet import TrainFunction
from membrane.verbs.observe import readings_of, score_bank


def choices_of(train: Recipe | TrainFunction, bank: Bank) -> list[Defense]:
    """What was chosen for each model of a bank, as a defense that does the same to any model; none if nothing was.

    A user's function keeps its choices to itself.
    """
    if not isinstance(train, Recipe):
        return []
    chosen = [train.defense.as_chosen(facts.get("defense", {})) for facts in bank.facts]
    return [] if all(one == train.defense for one in chosen) else chosen


def informed_scores(
    recipe: Recipe,
    choices: Sequence[Defense],
    task: Task,
    attacks: Sequence[Attack],
    store: Store,
    seed: int,
    rows: Sequence[int] | None = None,
    progress: Progress = silent,
    engine: str | Engine = "in_process",
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores (R, N) of each attack by name, every model playing target against references that took its choice.

    Every distinct choice is applied to all models, from their stored trainings, each read once; nothing is trained.

    Args:
        recipe: Of the undefended training, with the defense that chose.
        choices: R, from ``choices_of``.
        task: With the membership of all models.
        attacks: To run.
        store: Where trainings and releases lie.
        seed: Of the fleet.
        rows: The R models that take part; all of the task if not given.
        progress: Told how many models have been released under all choices.
        engine: That releases them.
    """
    used = list(range(len(task.membership))) if rows is None else list(rows)
    membership, labels = task.membership[used], task.pool.y.numpy()
    scores = {attack.name: np.empty(membership.shape) for attack in attacks}
    distinct = list(dict.fromkeys(choices))

    def told(what: str, done: float, total: float) -> None:
        progress("models under all choices", done, total)

    banks = sweep_fleet(recipe, distinct, task, store, seed, told, used, readings_of(attacks), engine)
    for choice, bank in zip(distinct, banks, strict=True):
        targets = [target for target, one in enumerate(choices) if one == choice]
        for name, said in score_bank(bank, membership, labels, list(attacks)).items():
            scores[name][targets] = said[targets]
    return scores
