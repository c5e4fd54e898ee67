"""Defenses that act while the model trains or on what it answers, and the free baselines that any has to beat."""

from membrane.core.catalogue import Catalogue
from membrane.defenses.advreg import AdvReg
from membrane.defenses.ccl import CCL
from membrane.defenses.confidence_penalty import ConfidencePenalty
from membrane.defenses.crl import CRL
from membrane.defenses.cutmix import CutMix
from membrane.defenses.cwrf import CWRF
from membrane.defenses.dmp import DMP
from membrane.defenses.dp_sgd import DPSGD
from membrane.defenses.dropout import Dropout
from membrane.defenses.early_stopping import EarlyStopping
from membrane.defenses.focal import FocalLoss
from membrane.defenses.hamp import HAMP, HAMPOutput, HAMPTraining
from membrane.defenses.kcd import KCD
from membrane.defenses.l2 import L2
from membrane.defenses.label_smoothing import LabelSmoothing
from membrane.defenses.memguard import MemGuard
from membrane.defenses.mist import MIST
from membrane.defenses.mixup import Mixup
from membrane.defenses.mixup_mmd import MixupMMD
from membrane.defenses.neuguard import NeuGuard
from membrane.defenses.past import PAST
from membrane.defenses.purifier import Purifier
from membrane.defenses.relaxloss import RelaxLoss
from membrane.defenses.rounding import Rounding
from membrane.defenses.sam import SAM
from membrane.defenses.selena import SELENA
from membrane.defenses.short_schedule import ShortSchedule
from membrane.defenses.stacked import Stacked
from membrane.defenses.swa import SWA
from membrane.defenses.temperature import Temperature
from membrane.defenses.top_k import TopK
from membrane.defenses.windows import WeightAveraging
from membrane.training.defense import Defense

DEFENSES: Catalogue[Defense] = Catalogue(
    "defense",
    [
        Defense,
        EarlyStopping,
        ShortSchedule,
        WeightAveraging,
        SWA,
        SAM,
        LabelSmoothing,
        ConfidencePenalty,
        FocalLoss,
        L2,
        Dropout,
        Mixup,
        CutMix,
        MixupMMD,
        RelaxLoss,
        HAMP,
        HAMPTraining,
        HAMPOutput,
        CCL,
        CRL,
        AdvReg,
        DMP,
        SELENA,
        KCD,
        MIST,
        NeuGuard,
        PAST,
        CWRF,
        DPSGD,
        MemGuard,
        Purifier,
        Temperature,
        TopK,
        Rounding,
        Stacked,
    ],
)

__all__ = [
    "CCL",
    "CRL",
    "CWRF",
    "DEFENSES",
    "DMP",
    "DPSGD",
    "HAMP",
    "KCD",
    "L2",
    "MIST",
    "PAST",
    "SAM",
    "SELENA",
    "SWA",
    "AdvReg",
    "ConfidencePenalty",
    "CutMix",
    "Defense",
    "Dropout",
    "EarlyStopping",
    "FocalLoss",
    "HAMPOutput",
    "HAMPTraining",
    "LabelSmoothing",
    "MemGuard",
    "Mixup",
    "MixupMMD",
    "NeuGuard",
    "Purifier",
    "RelaxLoss",
    "Rounding",
    "ShortSchedule",
    "Stacked",
    "Temperature",
    "TopK",
    "WeightAveraging",
]
