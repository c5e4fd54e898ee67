"""Who carries the risk: examples that many models betray, and groups that leak more than the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.core.errors import NotEnoughDataError
from membrane.core.values import Bools
from membrane.data.task import Task
from membrane.metrics import Accusations, Slice, accusations, clopper_pearson, slice_excesses, slice_sizes

FPRS = (0.01, 0.1)  # the first that each model's non-members resolve is used
EXPOSED = 20  # records listed
STANDS_OUT = 0.5  # share of non-members below a record from which it can be called exposed
LEVEL = 0.95
MIN_TRIALS = 50  # members, and non-members, that a group needs to be compared with the rest
MAX_GROUPS = 200


def exposed(
    scores: npt.NDArray[np.float64], is_member: Bools, slices: Sequence[Slice], task: Task
) -> list[dict[str, Any]]:
    """Records that an attack tells most surely from the same model's non-members, and how often models catch them.

    Args:
        scores: (R, N) of one attack.
        is_member: (R, N).
        slices: Of the pool; a record is said to be of the first that holds it.
        task: Labels.
    """
    below = np.full(is_member.shape, np.nan)
    for row, member in enumerate(is_member):
        others = np.sort(scores[row, ~member])
        below[row, member] = np.searchsorted(others, scores[row, member]) / len(others)
    n_targets = is_member.sum(0)
    mean = np.nansum(below, 0) / np.maximum(n_targets, 1)
    found = resolved(scores, is_member) if len(is_member) > 1 else None
    return [
        {
            "index": int(i),
            "label": task.pool.classes[int(task.pool.y[i])],
            "slice": next(part.name for part in slices if part.mask[i]),
            "caught": float(mean[i]),
            "n_targets": int(n_targets[i]),
            "by": None if found is None else _by(found, int(i)),
        }
        for i in np.argsort(-mean, kind="stable")[:EXPOSED]
        if mean[i] > STANDS_OUT
    ]


def risk(attack: str, scores: npt.NDArray[np.float64], is_member: Bools, part: Slice) -> dict[str, Any] | None:
    """How risk is spread over a slice's examples; None for one model, or where no rate is resolved for each model.

    Args:
        attack: Whose scores they are.
        scores: (R, N).
        is_member: (R, N).
        part: The slice.
    """
    found = resolved(scores[:, part.mask], is_member[:, part.mask])
    if found is None or len(is_member) < 2:
        return None
    said = found.agreement(LEVEL)
    twice, expected = found.falsely_twice(LEVEL)
    return {
        "attack": attack,
        "slice": part.name,
        "fpr": found.fpr,
        "by_any": asdict(said.coverage),
        "by_most": asdict(said.majority),
        "by_all": asdict(said.stability),
        "overlap": None if np.isnan(said.overlap) else said.overlap,
        "overlap_by_chance": said.overlap_by_chance,
        "falsely_twice": asdict(twice),
        "falsely_twice_by_chance": None if np.isnan(expected) else expected,
    }


def groups(
    attack: str, scores: npt.NDArray[np.float64], is_member: Bools, part: Slice, named: Sequence[Slice]
) -> dict[str, Any] | None:
    """Which groups of a slice leak more than its rest, all looked at together; None if none is large enough.

    Args:
        attack: Whose scores they are.
        scores: (R, N).
        is_member: (R, N).
        part: The slice.
        named: Groups of the pool.
    """
    inside = [Slice(one.name, one.mask[part.mask]) for one in named[:MAX_GROUPS]]
    values, member = scores[:, part.mask], is_member[:, part.mask]
    wanted = {"min_members": MIN_TRIALS, "min_non_members": MIN_TRIALS}
    sizes = {one.name: one for one in slice_sizes(inside, member, **wanted)}
    rest = {one.name: one for one in slice_sizes([Slice(one.name, ~one.mask) for one in inside], member, **wanted)}
    fit = [one for one in inside if sizes[one.name].enough and rest[one.name].enough]
    if not fit:
        return None
    found = slice_excesses(values, member, fit, models_per_cluster=2 if len(member) > 1 else 1, level=LEVEL)
    return {
        "attack": attack,
        "slice": part.name,
        "level": LEVEL,
        "too_small": len(named) - len(fit),
        "compared": [
            {
                "name": one.name,
                "n_members": sizes[one.name].n_members,
                "n_non_members": sizes[one.name].n_non_members,
                "excess": {key: asdict(one.excess)[key] for key in ("value", "low", "high", "level")},
                "p_value": one.p_value,
                "adjusted": one.adjusted,
            }
            for one in found
        ],
    }


def resolved(scores: npt.NDArray[np.float64], is_member: Bools) -> Accusations | None:
    """Whom each model accuses at the lowest rate that its non-members resolve; None if they resolve none."""
    for fpr in FPRS:
        try:
            return accusations(scores, is_member, fpr)
        except NotEnoughDataError:
            continue
    return None


def _by(found: Accusations, index: int) -> dict[str, Any]:
    """Models that catch a record, of those trained on it, and that accuse it falsely, of the others."""
    n = int(found.is_member[:, index].sum())
    return {
        "fpr": found.fpr,
        "models": asdict(clopper_pearson(int(found.caught[index]), n, LEVEL)) if n else None,
        "falsely": int(found.falsely[index]),
        "others": len(found.is_member) - n,
    }
