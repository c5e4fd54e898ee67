"""Ensemble: several attacks decide together whom to accuse.

Source: Wang et al. 2025, "Membership Inference Attacks as Privacy Tools: Reliability, Disparity and Ensemble",
arXiv:2506.13972: each attack accuses at the same false-positive rate; coverage accuses whom any of them accuses,
stability whom all do, majority whom more than half do. Where we differ: they set each threshold with the audited
labels. We let every attack accuse the same *share* of the examples, which needs no labels, and the ROC is that of the
combined decision, measured anew. Loss trajectories, one of their four attacks, need training and are not among ours;
they also combine the same attack over seeds, which ``combined`` does with its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.calibration import Calibration
from membrane.attacks.lineup import Lineup
from membrane.attacks.lira import LiRA
from membrane.attacks.on_attacks import OnAttacks
from membrane.attacks.reference import AttackR
from membrane.core.errors import SettingError
from membrane.core.values import Observation

Rule = Literal["coverage", "stability", "majority"]


@dataclass(frozen=True)
class Ensemble(OnAttacks):
    """One minus the smallest share of the examples at which the attacks together accuse x.

    Args:
        attacks: Attacks on scores; two or more make sense, an odd number for a majority.
        rule: "coverage": one accuser is enough; "stability": all must accuse; "majority": more than half.

    Raises:
        SettingError: If there is no attack, or one of another kind, or ``rule`` is none of these.
    """

    name: ClassVar[str] = "ensemble"
    source: ClassVar[str] = "Wang et al. 2025, arXiv:2506.13972, by ranks"
    by_default: ClassVar[bool] = False
    setting: ClassVar[str] = "attacks"

    attacks: tuple[Attack, ...] = (LiRA(), AttackR(), Calibration())
    rule: Rule = "majority"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rule(self.rule)

    @property
    def parts(self) -> tuple[Attack, ...]:
        return self.attacks

    def score(self, seen: Observation) -> Scores:
        return combined([one.score(seen) for one in self.attacks], self.rule)

    def score_all(self, lineup: Lineup) -> Scores:
        return combined([one.score_all(lineup) for one in self.attacks], self.rule)


def check_rule(rule: str) -> None:
    """Refuse a rule that is none.

    Raises:
        SettingError: If it is not.
    """
    if rule not in get_args(Rule):
        raise SettingError(f"rule is {rule!r}; it must be one of {', '.join(get_args(Rule))}.")


def combined(scores: Sequence[npt.ArrayLike], rule: Rule) -> Scores:
    """What K scores, of different attacks or of one attack under different seeds, say together; above 0, at most 1.

    Args:
        scores: K arrays (N,), or (R, N) with a row for each target; they are compared within a row.
        rule: As in ``Ensemble``.

    Raises:
        SettingError: If ``rule`` is none.
    """
    check_rule(rule)
    arrays = [np.asarray(one, dtype=np.float64) for one in scores]
    shares = np.sort([shares_of(one) for one in arrays], axis=0)
    place = {"coverage": -1, "stability": 0, "majority": len(shares) - (len(shares) // 2 + 1)}[rule]
    together: Scores = shares[place]
    return together


def shares_of(scores: Scores) -> Scores:
    """Of each score, the share of its row that is not above it; equal ones share the middle of their places."""
    shares = np.empty(scores.shape)
    for index in np.ndindex(scores.shape[:-1]):
        row = scores[index]
        rising = np.sort(row)
        places = np.searchsorted(rising, row, side="left") + np.searchsorted(rising, row, side="right") + 1
        shares[index] = places / (2 * row.size)
    return shares
