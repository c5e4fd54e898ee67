"""Defenses that act while the model trains, and the free baselines that any of them has to beat."""

from membrane.core.catalogue import Catalogue
from membrane.defenses.early_stopping import EarlyStopping
from membrane.defenses.relaxloss import RelaxLoss
from membrane.defenses.short_schedule import ShortSchedule
from membrane.defenses.windows import WeightAveraging
from membrane.training.defense import Defense

DEFENSES: Catalogue[Defense] = Catalogue("defense", [Defense, EarlyStopping, ShortSchedule, WeightAveraging, RelaxLoss])

__all__ = ["DEFENSES", "Defense", "EarlyStopping", "RelaxLoss", "ShortSchedule", "WeightAveraging"]
