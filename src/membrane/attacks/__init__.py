"""Membership-inference attacks: an observation in, one score per example out, higher = more likely a member.

All of them are post-processing of the signals of one bank of models, so each further attack costs milliseconds.
A new attack is one file here, one line in ``ATTACKS`` and one row in the test table.
"""

from membrane.attacks.attack import Access, ActiveAttack, Attack, Scores
from membrane.attacks.lira import LiRA
from membrane.attacks.lira_offline import OfflineLiRA
from membrane.attacks.loss import LossThreshold
from membrane.attacks.midpoint import Midpoint
from membrane.attacks.reference import AttackR
from membrane.attacks.rmia import RMIA
from membrane.attacks.rmia_offline import OfflineRMIA
from membrane.core.catalogue import Catalogue

ATTACKS: Catalogue[Attack] = Catalogue(
    "attack",
    [
        LossThreshold,
        AttackR,
        OfflineLiRA,
        LiRA,
        Midpoint,
        OfflineRMIA,
        RMIA,
    ],
)

__all__ = [
    "ATTACKS",
    "RMIA",
    "Access",
    "ActiveAttack",
    "Attack",
    "AttackR",
    "LiRA",
    "LossThreshold",
    "Midpoint",
    "OfflineLiRA",
    "OfflineRMIA",
    "Scores",
]
