"""Audit: train a bank of models through the whole pipeline, attack every one of them, and say what came out.

Every model plays target once, without its complementary partner; all others are the attacker's reference
models. They ran the same pipeline, the defense and its choices included, so the attacker knows the defense.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from membrane.attacks import Attack
from membrane.core.errors import DataError, SettingError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.store import Store
from membrane.data import Canary, Source, Splits, Task, make_task
from membrane.data.examples import Examples
from membrane.training import train_fleet
from membrane.training.check import training_mistakes
from membrane.verbs.measure import measure
from membrane.verbs.observe import choose_attacks, references_each, score_bank
from membrane.verbs.outcome import Audit
from membrane.verbs.results import Train, entry_of, finishing_seconds, label_of, results_of, settings_of

MODELS_LIMIT = (
    "Models were trained by us on random halves of one pool; a target trained on all of it may leak differently."
)


def audit(
    train: Train | Mapping[str, Train],
    data: Task | Splits | Source | Examples,
    *,
    references: int = 16,
    canaries: int = 0,
    holdout: int = 0,
    pool: int | None = None,
    canary_kind: str | Canary = "mislabelled",
    allow_duplicates: bool = False,
    near_duplicates: float | None = None,
    attacks: Sequence[str | Attack] | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str = "Membership audit",
    progress: Progress = silent,
) -> Audit:
    """Measure what a training pipeline leaks about its training sets.

    Args:
        train: A recipe; or ``train(members, holdout, generator) -> model``, the user's own loop, defense included
            (holdout is None if nothing is set aside);
            or several of them by label, of which the first is the baseline.
        data: Where pool, holdout and test are drawn from; or a task that was drawn already, which settles references
            and all from canaries to near_duplicates.
        references: Models to train, even, 4 or more; each example is in half of them. More is more exact: 32 for
            intervals over models (they are drawn in pairs), 66 for a variance of LiRA's for each example.
        canaries: Examples planted in the pool to be easy to betray, to see the worst case.
        holdout: Examples set aside for pipelines that must choose something (PPTP needs 500 or more).
        pool: Examples that are audited; by default all that the train split has left.
        canary_kind: What the canaries are: "mislabelled", "near_duplicate", "out_of_distribution", or one of these
            with its settings.
        allow_duplicates: Note inputs that occur more than once instead of refusing them.
        near_duplicates: Correlation from which images count as copies, 0.95 say; None for identical inputs alone.
        attacks: Names or objects; by default every attack that this number of models can feed.
        out: Run folder. Finished models lie there: a killed audit goes on where it was. Temporary if not given.
        seed: Decides splits, canaries, training and bootstrap.
        title: Heading of the report.
        progress: Told how far training and scoring are.

    Raises:
        DataError: If the data do not fit, before anything is trained.
        SettingError: If a setting does not fit, before anything is trained.
        NotEnoughDataError: If a named attack cannot run with so many models, before anything is trained.
        TrainingError: If a training diverges; finished models stay in the run folder.
    """
    trains = dict(train) if isinstance(train, Mapping) else {label_of(train): train}
    if not trains:
        raise SettingError("there is nothing to audit; pass a recipe or a training function.")
    drawn = {"canary_kind": canary_kind, "allow_duplicates": allow_duplicates, "near_duplicates": near_duplicates}
    task = _task(data, references, canaries, holdout, pool, seed, drawn)
    raise_all(f"{label}: {mistake}" for label, one in trains.items() for mistake in training_mistakes(one, task))
    n_each = references_each(len(task.membership))
    chosen = choose_attacks(attacks, n_each, n_each, len(task.test))
    if out is None:
        with tempfile.TemporaryDirectory(prefix="membrane-") as folder:
            return _audit(trains, task, chosen, Path(folder), seed, title, progress)
    done = _audit(trains, task, chosen, Path(out), seed, title, progress)
    done.save(out)
    return done


def _task(
    data: Task | Splits | Source | Examples,
    references: int,
    canaries: int,
    holdout: int,
    pool: int | None,
    seed: int,
    how: Mapping[str, Any],
) -> Task:
    if isinstance(data, Task):
        if len(data.membership) % 2 or (data.membership[::2] == data.membership[1::2]).any():
            raise DataError("models 2k and 2k+1 of this task do not train on complementary halves; use make_task.")
        return data
    if references < 4 or references % 2:
        raise SettingError(f"references is {references}; an audit trains an even number of models, 4 or more.")
    if isinstance(data, Source):
        data = data.load()
    if isinstance(data, Examples):
        n_test = len(data) // 5
        order = np.random.default_rng(seed).permutation(len(data))
        data = Splits(data[order[n_test:]], data[order[:n_test]])
    wanted = len(data.train) - holdout if pool is None else pool
    return make_task(data, n_models=references, pool=wanted, holdout=holdout, canaries=canaries, seed=seed, **how)


def _audit(
    trains: Mapping[str, Train], task: Task, attacks: list[Attack], out: Path, seed: int, title: str, progress: Progress
) -> Audit:
    store = Store(out / "store")
    entries, costs, measurements = [], {}, {}
    for i, (label, train) in enumerate(trains.items()):
        start = time.perf_counter()
        bank = train_fleet(train, task, store, seed, _named(progress, label, i, len(trains)), label=label)
        scores = score_bank(bank, task.membership, task.pool.y.numpy(), attacks)
        measurements[label] = measure(bank, scores, task, seed)
        entries.append(entry_of(label, train, bank, measurements[label], task))
        costs[label] = {
            "train": sum(float(facts.get("train_seconds", 0)) for facts in bank.facts),
            "finish": sum(finishing_seconds(facts) for facts in bank.facts),
            "audit": time.perf_counter() - start,
        }
    settings = {"seed": seed, "train": {label: settings_of(train) for label, train in trains.items()}}
    baseline = next(iter(trains)) if len(trains) > 1 else None
    results = results_of(title, settings, task, attacks, entries, baseline, [MODELS_LIMIT, *task.notes])
    return Audit(results, costs, measurements)


def _named(progress: Progress, label: str, done: int, total: int) -> Progress:
    return lambda what, part, whole: progress(f"{label}: {what}", done + part / whole, total)
