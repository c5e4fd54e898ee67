"""Estimators of where membership risk lives, one file each, and their catalogue."""

from membrane.core.catalogue import Catalogue
from membrane.pptp.locators.controls import Memories, permuted, plant
from membrane.pptp.locators.depth_readout import DepthReadout
from membrane.pptp.locators.fisher_ratio import FisherRatio
from membrane.pptp.locators.gap_allocation import GapAllocation
from membrane.pptp.locators.intervention import Intervention
from membrane.pptp.locators.locator import Locator, Subject
from membrane.pptp.locators.mix_response import MixResponse, mix_response
from membrane.pptp.locators.past import Past
from membrane.pptp.locators.self_influence import SelfInfluence
from membrane.pptp.locators.twin_swap import TwinSwap
from membrane.pptp.locators.twins import Twins, fork_twins

LOCATORS: Catalogue[Locator] = Catalogue(
    "estimator",
    [
        MixResponse,
        TwinSwap,
        GapAllocation,
        Intervention,
        DepthReadout,
        SelfInfluence,
        FisherRatio,
        Past,
    ],
)

__all__ = ["LOCATORS", "Locator", "Memories", "Subject", "Twins", "fork_twins", "mix_response", "permuted", "plant"]
