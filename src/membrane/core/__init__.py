"""The ground floor: errors, values, settings, catalogues, generators and the store."""

from membrane.core.catalogue import Catalogue
from membrane.core.errors import (
    DataError,
    MembraneError,
    ModelError,
    NotEnoughDataError,
    OutOfMemoryError,
    ReleaseError,
    SettingError,
    StoreError,
    TrainingError,
)
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store
from membrane.core.values import SIGNAL_KINDS, Observation, Signals

__all__ = [
    "SIGNAL_KINDS",
    "Catalogue",
    "DataError",
    "MembraneError",
    "ModelError",
    "NotEnoughDataError",
    "Observation",
    "OutOfMemoryError",
    "ReleaseError",
    "SettingError",
    "Signals",
    "Store",
    "StoreError",
    "TrainingError",
    "fingerprint",
    "to_plain",
]
