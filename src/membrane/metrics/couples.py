"""A lower bound on epsilon from one of the models of an audit, by guessing which canary of a couple it was trained on.

The audit of one run wants a fair coin of its own for each canary; a training set that is a random half of the pool, of
fixed size, has none. But canaries can be coupled beforehand. Of the couples of which the half holds exactly one, given
all else that was drawn, each possible choice of the one is as likely as any other: fair, independent coins. Turning one
over replaces a canary by the other, so what is bounded is the epsilon of replacing one example, which is at most twice
that of adding or removing one.

Only one model is used. Others that served as its references, or that it served, have seen its coins.

Source: the bound is that of Steinke, Nasr and Jagielski 2023, arXiv:2305.08846 (see ``one_run``); the coupling is ours.
Membership has to be drawn by us: for a model whose training set somebody chose there are no coins, and no bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, SettingError
from membrane.metrics.arrays import FloatArray, IntArray, bools, finite_floats
from membrane.metrics.one_run import OneRunAudit, audit_one_run

GUESSED = (1.0, 0.5, 0.25)
"""Shares of the couples that a guess is made about: all, or those told most clearly."""


@dataclass(frozen=True)
class CouplesBound:
    """The best bound of several attacks, all of which share its error budget.

    Args:
        attack: That gave it; the first one if none did.
        audit: What it rests on; its canaries are couples, and its epsilon that of replacing one example.
        n_couples: Made of the canaries, those included of which both or none were trained on.
    """

    attack: str
    audit: OneRunAudit
    n_couples: int


def couples_bound(
    scores: Mapping[str, ArrayLike], is_member: ArrayLike, *, delta: float = 0.0, level: float = 0.95
) -> CouplesBound | None:
    """The largest epsilon that guesses about couples of canaries rule out; None if no couple was parted or told apart.

    Args:
        scores: By attack, (m,) scores of one model's canaries, higher means more likely a member. Canaries 2k and
            2k + 1 are a couple, and the order may have nothing to do with membership.
        is_member: (m,) bool, part of a random subset of fixed size, or drawn by independent fair coins.
        delta: 0 to one over twice the number of parted couples.
        level: Confidence, over all attacks together.

    Raises:
        DataError: If the arrays do not fit each other or are not finite.
        SettingError: If there are no scores, or ``delta`` or ``level`` is outside its range.
    """
    if not scores:
        raise SettingError("there are no scores to guess by; give those of one attack or more.")
    member = bools(is_member, "is_member", 1)
    even = member.size - member.size % 2
    first, second = member[:even:2], member[1:even:2]
    parted = first != second
    best: CouplesBound | None = None
    for attack, values in scores.items():
        checked = finite_floats(values, f"scores of {attack}", 1)
        if checked.shape != member.shape:
            raise DataError(f"scores of {attack} have shape {checked.shape}, is_member {member.shape}.")
        differences = (checked[:even:2] - checked[1:even:2])[parted]
        for share in GUESSED:
            guesses = _guesses(differences, share)
            if not guesses.any():
                continue
            audit = audit_one_run(guesses, first[parted], delta=delta, level=level, n_audits=len(scores) * len(GUESSED))
            if best is None or audit.epsilon_low > best.audit.epsilon_low:
                best = CouplesBound(attack, audit, even // 2)
    return best


def _guesses(differences: FloatArray, share: float) -> IntArray:
    """1 where the first of a couple scores higher, -1 where the second does; 0 for the least clear and for ties."""
    clear = np.abs(differences)
    wanted = int(share * clear.size)
    if wanted < 1:
        return np.zeros(clear.size, dtype=np.int64)
    guesses: IntArray = np.where(clear >= np.sort(clear)[-wanted], np.sign(differences), 0).astype(np.int64)
    return guesses
