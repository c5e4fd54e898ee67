"""The main job end to end on embedded data: train, protect, audit everything the same adaptive way, report."""

from __future__ import annotations

import os

from membrane.core.progress import Progress, silent
from membrane.data import Digits, Task, make_task
from membrane.defenses import EarlyStopping, ShortSchedule, WeightAveraging
from membrane.models import ResNet
from membrane.pptp import PPTP
from membrane.training import Recipe
from membrane.training.engines import InProcess
from membrane.verbs.audit import audit
from membrane.verbs.outcome import Audit
from membrane.verbs.results import Train

EPOCHS = 24


def demo_task(seed: int) -> Task:
    """All 1797 digits: a pool of which each model trains on 500, 500 to choose on, 297 to test on."""
    return make_task(Digits(test=297).load(), n_models=12, pool=1000, holdout=500, canaries=50, seed=seed)


def demo_trains() -> dict[str, Train]:
    """The defenses side by side, the undefended baseline first; PPTP with two budgets of accuracy."""
    recipe = Recipe(model=ResNet(widths=(16, 32, 64), blocks=(1, 1, 1)), epochs=EPOCHS, batch_size=50, lr=0.02, keep=12)
    return {
        "undefended": recipe,
        "short schedule": recipe.with_defense(ShortSchedule(epochs=8)),
        "early stopping": recipe.with_defense(EarlyStopping(epoch=4)),
        "weight averaging": recipe.with_defense(WeightAveraging(first=2, last=4)),
        "PPTP, 1 point": recipe.with_defense(PPTP(max_accuracy_drop=0.01, max_candidates=24, controls=True)),
        "PPTP, 5 points": recipe.with_defense(PPTP(max_accuracy_drop=0.05, max_candidates=24, controls=True)),
    }


def demo(out: str | os.PathLike[str] | None = None, seed: int = 0, progress: Progress = silent) -> Audit:
    """Audit of six pipelines on scikit-learn's digits, with mislabelled canaries, 12 models each.

    Args:
        out: Run folder; temporary if not given.
        seed: Decides everything.
        progress: Told how far it is.
    """
    title = "membrane demo: handwritten digits"
    alone = InProcess(1, device="cpu")  # networks this small lose more in handing work around than is gained by it
    return audit(demo_trains(), demo_task(seed), out=out, seed=seed, title=title, progress=progress, engine=alone)
