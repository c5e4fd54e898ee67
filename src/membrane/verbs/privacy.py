"""What an audit proves about epsilon, and what a defense claims: facts about its models, told once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.core.values import Bools, Ints
from membrane.metrics import couples_bound

DELTA = 1e-5  # where a defense does not name its own
LEVEL = 0.95
MIN_COUPLES = 5  # fewer say nothing at 95 %, even if every guess is right
_SAID_ELSEWHERE = {"choice", "risk_map", "plan", "seconds"}


def epsilon(
    scores: Mapping[str, npt.NDArray[np.float64]], is_member: Bools, canaries: Ints, delta: float = DELTA
) -> dict[str, Any]:
    """Lower bound on epsilon from the canaries of the first model, JSON-ready, or why there is none.

    Args:
        scores: By attack, (R, N).
        is_member: (R, N), random halves that were drawn for this audit.
        canaries: Positions of the canaries.
        delta: Of the (epsilon, delta) that is bounded.
    """
    parted = int((is_member[0, canaries[: len(canaries) // 2 * 2 : 2]] != is_member[0, canaries[1::2]]).sum())
    if parted < MIN_COUPLES:
        return {"refused": f"{len(canaries)} canaries make {parted} couples of which the first model saw one."}
    if delta > 1 / (2 * parted):
        return {"refused": f"delta is {delta:g}; with {parted} couples it must be at most {1 / (2 * parted):.3g}."}
    found = couples_bound(
        {name: values[0, canaries] for name, values in scores.items()}, is_member[0, canaries], delta=delta, level=LEVEL
    )
    if found is None:
        return {"refused": "the attacks tell no couple of canaries apart."}
    audit = found.audit
    return {
        "low": audit.epsilon_low,
        "delta": audit.delta,
        "level": audit.level,
        "attack": found.attack,
        "n_couples": audit.n_canaries,
        "n_guesses": audit.n_guesses,
        "n_correct": audit.n_correct,
        "n_audits": audit.n_audits,
    }


def facts_of(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a defense reported of its models: one value where all agree, else mean, least and most.

    Args:
        models: For each model, what its defense reported.
    """
    names = list(dict.fromkeys(name for one in models for name in one if name not in _SAID_ELSEWHERE))
    return {name: _together([one.get(name) for one in models]) for name in names}


def _together(values: list[Any]) -> Any:  # noqa: ANN401 -- JSON-ready
    if all(value == values[0] for value in values):
        return values[0]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        return {"mean": sum(numbers) / len(numbers), "low": min(numbers), "high": max(numbers)}
    return "differs from model to model"
