"""RMIA with several queries as its paper has it: x beats z if it does so in most queries.

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv:2312.03262, offline variant
with augmented queries: for each pair of x and z the majority of LR_q(x, z) >= gamma over the queries q. Where we
differ: as in the attack 'rmia_offline', but for the queries; above all P is the plain softmax probability, because
their SM-Taylor softmax needs all logits, and signals hold none. An exact half is no majority. Equal shares are ordered
by the mean log r_x. The N x Z votes are counted in blocks, from ranks, and never held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Scores, over_queries
from membrane.attacks.references import Array
from membrane.attacks.rmia_offline import OfflineRMIA, within_step

BLOCK = 1 << 22  # votes held at once, one byte each


@dataclass(frozen=True)
class VotingRMIA(OfflineRMIA):
    """Share of the population that x beats in more than half of the queries.

    With one query it is 'rmia_offline'. Takes N x Z x Q comparisons, where 'rmia_offline' sorts.

    Args:
        gamma: As in 'rmia_offline'.
        a: As in 'rmia_offline'.

    Raises:
        SettingError: If either is outside its range.
    """

    name: ClassVar[str] = "rmia_vote"
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262 (offline, majority over queries)"
    by_default: ClassVar[bool] = False

    def judge(self, log_x: Array, log_z: Array) -> Scores:
        won = pairs_won(log_x - math.log(self.gamma), log_z)
        return (won + within_step(over_queries(log_x))) / len(log_z)


def pairs_won(log_x: Array, log_z: Array) -> Scores:
    """(N,), how many z each x is at least equal to in more than half of the queries.

    Args:
        log_x: (N, Q).
        log_z: (Z, Q).
    """
    n_queries, n_strangers = log_z.shape[1], len(log_z)
    small = np.uint16 if n_strangers < 1 << 16 else np.uint32
    votes = np.uint8 if n_queries < 1 << 8 else np.uint32
    # Whole numbers compare faster: x beats z where it is above more strangers than are strictly below z.
    ordered = np.sort(log_z, axis=0)
    beaten = np.empty(log_x.T.shape, dtype=small)
    rank = np.empty(log_z.T.shape, dtype=small)
    for q in range(n_queries):
        beaten[q] = np.searchsorted(ordered[:, q], log_x[:, q], side="right")
        rank[q] = np.searchsorted(ordered[:, q], log_z[:, q], side="left")
    won = np.empty(len(log_x))
    step = max(1, BLOCK // n_strangers)
    for start in range(0, len(log_x), step):
        part = slice(start, start + step)
        count = np.zeros((len(won[part]), n_strangers), dtype=votes)
        for q in range(n_queries):
            count += beaten[q, part, None] > rank[q]
        won[part] = np.count_nonzero(count > n_queries // 2, axis=1)
    return won
