"""Regions: cut a network into parts, edit them one by one, and keep the history to edit from."""

from membrane.regions.edit import average, copy_state, frozen, load_state, mix, random_channels, swap
from membrane.regions.edited import calibration_sample, edited
from membrane.regions.partition import Partition, Region, partition, unwrap
from membrane.regions.recalibrate import needs_recalibration, recalibrate
from membrane.regions.trail import Trail
from membrane.regions.weights import load_weights

__all__ = [
    "Partition",
    "Region",
    "Trail",
    "average",
    "calibration_sample",
    "copy_state",
    "edited",
    "frozen",
    "load_state",
    "load_weights",
    "mix",
    "needs_recalibration",
    "partition",
    "random_channels",
    "recalibrate",
    "swap",
    "unwrap",
]
