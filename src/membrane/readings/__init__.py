"""Readings: what is read off a model for every example beyond the signals of its answers; attacks say what they need.

A new reading is one file here, one line in ``READINGS`` and one row in the test table.
"""

from membrane.core.catalogue import Catalogue
from membrane.readings.gradients import Gradients
from membrane.readings.inside import inside
from membrane.readings.reading import Reading, Reveals, distinct, most_open, opens
from membrane.readings.region_outputs import RegionOutputs

READINGS: Catalogue[Reading] = Catalogue("reading", [Gradients, RegionOutputs])

__all__ = [
    "READINGS",
    "Gradients",
    "Reading",
    "RegionOutputs",
    "Reveals",
    "distinct",
    "inside",
    "most_open",
    "opens",
]
