"""Every pipeline against the baseline, on the same models' splits: what changes, with a paired interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.core.errors import NotEnoughDataError
from membrane.metrics import Estimate, difference_interval
from membrane.verbs.measure import FPRS, LEVEL, Measurement, plain_interval


def against_baseline(measured: Mapping[str, Measurement], baseline: str | None) -> list[dict[str, Any]]:
    """For each other pipeline its change of accuracy and, by slice, of what its own strongest attack finds.

    Below 0, a pipeline leaks less than the baseline. Each is attacked by what finds most in it, and in the baseline:
    an attacker would choose so, too.

    Args:
        measured: By label, all on one task.
        baseline: Label to compare with; without one there is nothing to compare.
    """
    if baseline is None:
        return []
    base = measured[baseline]
    return [
        {
            "entry": label,
            "baseline": baseline,
            "accuracy": _plain(one.accuracy - base.accuracy, one),
            "slices": {part.name: _slice(one, base, part.name) for part in one.slices if part.mask.any()},
        }
        for label, one in measured.items()
        if label != baseline
    ]


def _slice(one: Measurement, base: Measurement, name: str) -> dict[str, Any]:
    mine, its = one.strongest(name), base.strongest(name)
    rates = []
    for fpr in FPRS:
        try:
            change = one.leakage(mine, name, fpr) - base.leakage(its, name, fpr)
        except NotEnoughDataError:  # the slice's own table says why
            continue
        rates.append({"fpr": fpr} | _plain(change, one))
    return {
        "attacks": [mine, its],
        "auc": _plain(one.leakage(mine, name) - base.leakage(its, name), one),
        "tpr": rates,
    }


def _plain(change: Estimate, one: Measurement) -> dict[str, Any]:
    found = plain_interval(difference_interval(change, models_per_cluster=one.models_per_cluster, level=LEVEL))
    if not change.influence.any():  # both at the end of the scale, or the same: that there is no error is not known
        return found | {"low": None, "high": None, "note": "nothing varies that an interval could be told from"}
    return found
