"""Membership-inference attacks: an observation in, one score per example out, higher = more likely a member.

All of them are post-processing of the signals of one bank of models, and of what else was read off them, so each
further attack costs milliseconds once that is there.
A new attack is one file here, one line in ``ATTACKS`` and one row in the test table.

Left out: InfoRMIA (arXiv:2510.05582), of whose score only the abstract was at hand; BaVarIA's own priors
(arXiv:2603.11799), for the same reason: 'lira_student' is ours in its stead; SeqMIA (Li et al. 2024, CCS), whose
recurrent network and five sequences were known from a summary alone: 'loss_trajectory' reads one of them.
"""

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.base import BASE
from membrane.attacks.base_offline import OfflineBASE
from membrane.attacks.calibration import Calibration
from membrane.attacks.class_thresholds import ClassThresholds
from membrane.attacks.confidence import Confidence
from membrane.attacks.correctness import Correctness
from membrane.attacks.ensemble import Ensemble
from membrane.attacks.entropy import Entropy
from membrane.attacks.gradient_norm import GradientNorm
from membrane.attacks.label_augmented import LabelAugmented
from membrane.attacks.label_boundary import LabelBoundary
from membrane.attacks.label_learned import LabelLearned
from membrane.attacks.label_noise import LabelNoise
from membrane.attacks.lineup import Lineup
from membrane.attacks.lira import LiRA
from membrane.attacks.lira_offline import OfflineLiRA
from membrane.attacks.lira_student import StudentLiRA
from membrane.attacks.loss import LossThreshold
from membrane.attacks.loss_trajectory import LossTrajectory
from membrane.attacks.max_posterior import MaxPosterior
from membrane.attacks.midpoint import Midpoint
from membrane.attacks.ml_leaks import MLLeaks
from membrane.attacks.modified_entropy import ModifiedEntropy
from membrane.attacks.per_sample import PerSample
from membrane.attacks.population import Population
from membrane.attacks.quantile_regression import QuantileRegression
from membrane.attacks.range_membership import RangeMembership
from membrane.attacks.reference import AttackR
from membrane.attacks.region import Region
from membrane.attacks.reveal import Reveal
from membrane.attacks.rmia import RMIA
from membrane.attacks.rmia_offline import OfflineRMIA
from membrane.attacks.rmia_taylor import TaylorRMIA
from membrane.attacks.rmia_vote import VotingRMIA
from membrane.attacks.shadow_classifier import ShadowClassifier
from membrane.attacks.white_box import WhiteBox
from membrane.core.catalogue import Catalogue

ATTACKS: Catalogue[Attack] = Catalogue(
    "attack",
    [
        LossThreshold,
        Confidence,
        Entropy,
        ModifiedEntropy,
        Correctness,
        Population,
        ClassThresholds,
        Calibration,
        AttackR,
        OfflineLiRA,
        LiRA,
        StudentLiRA,
        Midpoint,
        OfflineRMIA,
        RMIA,
        VotingRMIA,
        TaylorRMIA,
        OfflineBASE,
        BASE,
        RangeMembership,
        PerSample,
        Ensemble,
        LabelAugmented,
        LabelLearned,
        LabelNoise,
        LabelBoundary,
        GradientNorm,
        Region,
        Reveal,
        WhiteBox,
        MaxPosterior,
        MLLeaks,
        ShadowClassifier,
        LossTrajectory,
        QuantileRegression,
    ],
)

__all__ = [
    "ATTACKS",
    "BASE",
    "RMIA",
    "Attack",
    "AttackR",
    "Calibration",
    "ClassThresholds",
    "Confidence",
    "Correctness",
    "Ensemble",
    "Entropy",
    "GradientNorm",
    "LabelAugmented",
    "LabelBoundary",
    "LabelLearned",
    "LabelNoise",
    "LiRA",
    "Lineup",
    "LossThreshold",
    "LossTrajectory",
    "MLLeaks",
    "MaxPosterior",
    "Midpoint",
    "ModifiedEntropy",
    "OfflineBASE",
    "OfflineLiRA",
    "OfflineRMIA",
    "PerSample",
    "Population",
    "QuantileRegression",
    "RangeMembership",
    "Region",
    "Reveal",
    "Scores",
    "ShadowClassifier",
    "StudentLiRA",
    "TaylorRMIA",
    "VotingRMIA",
    "WhiteBox",
]
