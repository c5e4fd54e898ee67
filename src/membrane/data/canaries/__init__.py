"""Kinds of canaries: one file each, one line here."""

from membrane.core.catalogue import Catalogue
from membrane.data.canaries.canary import Canary, Planted
from membrane.data.canaries.mislabelled import Mislabelled
from membrane.data.canaries.near_duplicate import NearDuplicate
from membrane.data.canaries.out_of_distribution import OutOfDistribution

CANARIES: Catalogue[Canary] = Catalogue("canary", [Mislabelled, NearDuplicate, OutOfDistribution])

__all__ = ["CANARIES", "Canary", "Mislabelled", "NearDuplicate", "OutOfDistribution", "Planted"]
