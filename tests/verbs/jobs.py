"""An audit of seconds, for processes to be killed in the middle of it."""

from __future__ import annotations

from pathlib import Path

import torch

import membrane
from membrane.defenses import EarlyStopping
from tests.training.jobs import recipe, task


def run_audit(out: Path) -> None:
    """Two defenses that share one training, four models, everything written to ``out``."""
    torch.set_num_threads(1)
    plain = recipe(epochs=8)
    trains = {"undefended": plain, "early stopping": plain.with_defense(EarlyStopping(3))}
    membrane.audit(trains, task(), out=out, seed=1)
