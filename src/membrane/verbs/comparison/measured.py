"""One cell: every model of a pipeline attacked, and what a comparison needs of that, JSON-ready."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.attacks import Attack
from membrane.core.errors import NotEnoughDataError
from membrane.core.progress import Progress
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store
from membrane.data import Task
from membrane.training import Recipe, train_fleet
from membrane.training.engines import Engine
from membrane.training.identity import identity
from membrane.training.keys import RELEASE_VERSION
from membrane.training.recipe import TRAINING_VERSION
from membrane.verbs.comparison.cells import Cell
from membrane.verbs.judge import judge
from membrane.verbs.measure import MEASURE_VERSION, Measurement
from membrane.verbs.observe import readings_of
from membrane.verbs.results import describe_attack, describe_task, made_with

FPR = 0.01  # of the rate that cells are compared by, beside the area
RESAMPLES = 500
_KEPT = ("auc", "tpr")  # of an attack: curves and single records would make a cell a hundred times as long


def cell_key(cell: Cell, task: Task, attacks: Sequence[Attack], informed: bool) -> str:
    """Changes whenever anything does that decides what a cell says; times are no part of it."""
    train = cell.train
    return fingerprint(
        {
            "train": to_plain(train) if isinstance(train, Recipe) else {"function": identity(train)},
            "task": task.checksum(),
            "membership": hashlib.sha256(np.packbits(task.membership).tobytes()).hexdigest(),
            "queries": task.queries,
            "attacks": [to_plain(attack) for attack in attacks],
            "seed": cell.seed,
            "informed": informed,
            "versions": [TRAINING_VERSION, RELEASE_VERSION, MEASURE_VERSION, FPR, RESAMPLES],
            "made_with": made_with(),
        }
    )


def measure_cell(
    cell: Cell,
    task: Task,
    attacks: Sequence[Attack],
    store: Store,
    informed: bool,
    engine: Engine,
    progress: Progress,
) -> dict[str, Any]:
    """Train (or read back) the cell's models, attack each, and keep what curves are made from.

    Raises:
        TrainingError: If a training diverges.
    """
    bank = train_fleet(
        cell.train, task, store, cell.seed, progress, label=cell.method, readings=readings_of(attacks), engine=engine
    )
    judged = judge(
        cell.method, cell.train, bank, task, attacks, store, cell.seed, None, informed, progress, engine=engine
    )
    entry = dict(judged.entry)
    slices = {
        name: part | {"attacks": {attack: {k: one[k] for k in _KEPT} for attack, one in part["attacks"].items()}}
        for name, part in entry["slices"].items()
    }
    kept = ("accuracy", "facts", "plan", "plans_agreement", "choices_known", "epsilon")
    return {
        **{name: entry.get(name) for name in kept},
        "slices": slices,
        "leakage": {name: leakages(judged.measurement, name) for name in slices},
        "accuracy_replicates": _short(judged.measurement.accuracy_replicates),
        "task": describe_task(task),
        "attacks": [describe_attack(attack, task.queries) for attack in attacks],
        "costs": dict(judged.costs),
    }


def leakages(measured: Measurement, part: str) -> dict[str, Any]:
    """On one slice, area and rate of the attack that finds most, with bootstrap replicates; the rate if resolvable.

    The area's attack is the one with the largest area, the rate's the one with the largest rate: an attacker chooses
    by what is wanted.
    """
    best = measured.strongest(part)
    area = {
        "attack": best,
        "value": measured.auc(best, part),
        "replicates": _short(measured.auc_replicates(best, part)),
    }
    try:
        rates = {attack: measured.leakage(attack, part, FPR).value for attack in measured.scores}
    except NotEnoughDataError:
        return {"auc": area}
    best = max(rates, key=lambda attack: rates[attack])
    replicates = measured.tpr_replicates(best, part, FPR)
    return {"auc": area, f"tpr@{FPR:g}": {"attack": best, "value": rates[best], "replicates": _short(replicates)}}


def _short(replicates: npt.NDArray[np.float64]) -> list[float | None]:
    """As JSON: short, and null where a resample has no value."""
    return [round(float(value), 5) if np.isfinite(value) else None for value in replicates]
