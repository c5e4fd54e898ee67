"""Which rates a run will resolve."""

from __future__ import annotations

from membrane.core.errors import NotEnoughDataError
from membrane.data import Task
from membrane.metrics.roc import check_resolvable
from membrane.verbs.measure import FPRS

_FALSE_POSITIVES = 10  # that a rate must amount to, as in the metrics


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
