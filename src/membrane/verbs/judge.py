"""From the models of each pipeline to the audit: every model attacked, every number measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from membrane.attacks import Attack
from membrane.data import Task
from membrane.training import Bank
from membrane.verbs.measure import Measurement, measure
from membrane.verbs.observe import score_bank
from membrane.verbs.outcome import Audit
from membrane.verbs.results import Train, entry_of, finishing_seconds, results_of, settings_of

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
    label: str, train: Train, bank: Bank, task: Task, attacks: Sequence[Attack], seed: int, start: float | None = None
) -> Judged:
    """Attack every model of a bank and measure what comes out.

    Args:
        label: Of the pipeline.
        train: The pipeline.
        bank: Signals of the task's models.
        task: Membership of the same models.
        attacks: To run.
        seed: Of the bootstrap.
        start: When work on this pipeline began, in ``time.perf_counter`` seconds; now if not given.
    """
    start = time.perf_counter() if start is None else start
    scores = score_bank(bank, task.membership, task.pool.y.numpy(), list(attacks))
    measured = measure(bank, scores, task, seed)
    entry = entry_of(label, train, bank, measured, task)
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
    results = results_of(title, settings, task, attacks, entries, baseline, [MODELS_LIMIT, *task.notes])
    costs = {label: part.costs for label, part in parts.items()}
    return Audit(results, costs, {label: part.measurement for label, part in parts.items()})
