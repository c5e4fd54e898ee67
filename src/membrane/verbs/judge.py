"""From the models of each pipeline to the audit: every model attacked, every number measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from membrane.attacks import Attack
from membrane.core.progress import Progress, silent
from membrane.core.store import Store
from membrane.data import Task
from membrane.data.membership import references_each
from membrane.training import Bank, Recipe
from membrane.training.engines import Engine
from membrane.verbs.against import against_baseline
from membrane.verbs.by_region import by_region
from membrane.verbs.informed import choices_of, informed_scores
from membrane.verbs.measure import Measurement, measure
from membrane.verbs.observe import score_bank
from membrane.verbs.outcome import Audit
from membrane.verbs.results import Train, entry_of, finishing_seconds, results_of, settings_of
from membrane.verbs.tier import tier_of

MODELS_LIMIT = (
    "Models were trained by us on random halves of one pool; a target trained on all of it may leak differently."
)


@dataclass(frozen=True)
class Judged:
    """One pipeline's part of an audit.

    Args:
        entry: Of the results.
        costs: Seconds that training, finishing and auditing took.
        measurement: Scores and what they were measured on.
    """

    entry: Mapping[str, Any]
    costs: Mapping[str, float]
    measurement: Measurement


def judge(
    label: str,
    train: Train,
    bank: Bank,
    task: Task,
    attacks: Sequence[Attack],
    store: Store,
    seed: int,
    rows: Sequence[int] | None = None,
    informed: bool = True,
    progress: Progress = silent,
    start: float | None = None,
    engine: str | Engine = "in_process",
) -> Judged:
    """Attack every model of a bank and measure what comes out.

    Args:
        label: Of the pipeline.
        train: The pipeline.
        bank: Signals of the models.
        task: Data, and the membership of all models.
        attacks: To run.
        store: Where trainings lie.
        seed: Of the fleet and of the bootstrap.
        rows: The models that the bank holds; all of the task's if not given.
        informed: Whether references take what was chosen for the target.
        progress: Told of choices that are given to references.
        start: When work on this pipeline began, in ``time.perf_counter`` seconds; now if not given.
        engine: That releases references under what was chosen for the target.
    """
    start = time.perf_counter() if start is None else start
    some = task if rows is None else replace(task, membership=task.membership[rows])
    choices = choices_of(train, bank) if informed else []
    if choices and isinstance(train, Recipe):
        scores = informed_scores(train, choices, task, attacks, store, seed, rows, progress, engine)
    else:
        scores = score_bank(bank, some.membership, task.pool.y.numpy(), list(attacks))
    measured = measure(bank, scores, some, seed)
    entry = entry_of(label, train, bank, measured, some) | ({"choices_known": len(set(choices))} if choices else {})
    where = by_region(bank, some, seed)
    entry = entry | ({"regions": where} if where else {})
    costs = {
        "train": sum(float(facts.get("train_seconds", 0)) for facts in bank.facts),
        "finish": sum(finishing_seconds(facts) for facts in bank.facts),
        "audit": time.perf_counter() - start,
    }
    return Judged(entry, costs, measured)


def audit_of(
    parts: Mapping[str, Judged],
    trains: Mapping[str, Train],
    task: Task,
    attacks: Sequence[Attack],
    seed: int,
    title: str,
) -> Audit:
    """The audit of pipelines that were judged on one task; the first is the baseline if there are several."""
    settings = {"seed": seed, "train": {label: settings_of(train) for label, train in trains.items()}}
    baseline = next(iter(parts)) if len(parts) > 1 else None
    entries = [part.entry for part in parts.values()]
    measured = {label: part.measurement for label, part in parts.items()}
    n_each = references_each(len(task.membership))
    results = results_of(
        title,
        settings,
        task,
        attacks,
        entries,
        baseline,
        [MODELS_LIMIT, *task.notes],
        against=against_baseline(measured, baseline),
        tier=tier_of(attacks, 2 * n_each, n_each),
    )
    return Audit(results, {label: part.costs for label, part in parts.items()}, measured)
