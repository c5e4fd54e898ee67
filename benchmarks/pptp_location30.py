"""PPTP on Location30: 446 binary features, 30 classes, an MLP with two hidden layers, 1 500 members a model.

Models train in seconds, so there are 16 of them and half as many canaries resolve the same rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from frontier import Setting, main

from membrane.data import Splits, Table
from membrane.defenses import RelaxLoss, ShortSchedule
from membrane.models import MLP
from membrane.pptp import OutOfFoldRefit
from membrane.training import Defense, Recipe


def load(path: Path) -> Splits:
    """Table of features, split at random with a fixed seed."""
    return Table(str(path)).load()


RISKY = ("hidden1",)


def refits() -> Iterator[tuple[str, str, Defense]]:
    """The same refit with forks that differ in the risky region, in the others, and everywhere."""
    places: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("PPTP refit", RISKY),
        ("refit, the others forked", ("hidden2", "head")),
        ("refit, all forked", ()),
    )
    for name, forked in places:
        for first, last, epochs in ((2, 4, 25), (4, 8, 10), (6, 14, 6)):
            strength = f"from epochs {first}-{last}, {epochs} epochs"
            yield name, strength, OutOfFoldRefit(forked, first, last, folds=3, fork_epochs=15, epochs=epochs, lr=0.02)


PLAIN = Setting(
    "plain",
    "Location30, MLP",
    Recipe(model=MLP(), epochs=40, keep=None, lr=0.01, batch_size=64),
    load,
    late=("hidden2", "head"),
    windows=((3, 6), (4, 8), (5, 10), (6, 14), (8, 20)),
    wide=((2, 4), (10, 30)),
    trainings=(
        Defense(),
        ShortSchedule(8),
        ShortSchedule(12),
        ShortSchedule(18),
        RelaxLoss(0.25),
        RelaxLoss(0.5),
        RelaxLoss(1.0),
    ),
    stops=(4, 6, 8, 12),
    pool=3_000,
    holdout=1_000,
    test=1_002,
    canaries=125,
    n_models=16,
    clean_models=4,
    epoch_ends=True,
    refits=tuple(refits()),
    pilot=True,
)

if __name__ == "__main__":
    data = Path("../shared/data/location30.parquet")
    main(__doc__, (PLAIN,), data, Path("results/pptp_location30"))
