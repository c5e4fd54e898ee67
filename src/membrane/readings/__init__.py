"""Readings: what is read off a model for every example beyond the signals of its answers; attacks say what they need.

A new reading is one file here, one line in ``READINGS`` and one row in the test table.
"""

from membrane.core.catalogue import Catalogue
from membrane.readings.augmented_labels import AugmentedLabels
from membrane.readings.boundary import Boundary
from membrane.readings.expectation import Expectation
from membrane.readings.gradients import Gradients
from membrane.readings.inside import inside
from membrane.readings.noisy_labels import NoisyLabels
from membrane.readings.posteriors import Posteriors
from membrane.readings.reading import Reading, Reveals, distinct, most_open, opens
from membrane.readings.region_outputs import RegionOutputs
from membrane.readings.revealed import Revealed
from membrane.readings.taylor import TaylorSoftmax
from membrane.readings.trajectory import Trajectory

READINGS: Catalogue[Reading] = Catalogue(
    "reading",
    [
        *(Gradients, RegionOutputs, Revealed, Posteriors, Expectation, Trajectory),
        *(AugmentedLabels, NoisyLabels, Boundary, TaylorSoftmax),
    ],
)

__all__ = [
    "READINGS",
    "AugmentedLabels",
    "Boundary",
    "Expectation",
    "Gradients",
    "NoisyLabels",
    "Posteriors",
    "Reading",
    "RegionOutputs",
    "Revealed",
    "Reveals",
    "TaylorSoftmax",
    "Trajectory",
    "distinct",
    "inside",
    "most_open",
    "opens",
]
