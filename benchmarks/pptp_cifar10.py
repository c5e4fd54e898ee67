"""PPTP on CIFAR-10: a small ResNet, without augmentation and with flip and crop.

ResNet with BatchNorm, 0.31 M parameters, a pool of 10 000 images of which every model trains on a random half, 24
epochs of SGD, 8 models in complementary pairs, 250 mislabelled canaries in the pool. See ``frontier.py`` for how.
"""

from __future__ import annotations

from pathlib import Path

from frontier import Setting, main

from membrane.data import Parquet, Splits
from membrane.defenses import RelaxLoss, ShortSchedule
from membrane.models import ResNet
from membrane.pptp import OutOfFoldRefit
from membrane.training import Defense, Recipe


def load(path: Path) -> Splits:
    """Parquet of encoded images."""
    return Parquet(str(path)).load()


LATE = ("stage3", "stage4")
REFITS = tuple(
    (name, "from epochs 2-4", OutOfFoldRefit(forked, 2, 4, folds=3, fork_epochs=8, epochs=8, lr=0.05))
    for name, forked in (("PPTP refit", LATE), ("refit, all forked", ()))
)

PLAIN = Setting(
    "plain",
    "CIFAR-10, small ResNet, no augmentation",
    Recipe(model=ResNet(), epochs=24, keep=None, precision="bfloat16"),
    load,
    late=LATE,
    windows=((1, 3), (2, 4), (2, 5), (3, 6), (3, 8)),
    wide=((4, 9), (6, 12)),
    trainings=(
        Defense(),
        ShortSchedule(7),
        ShortSchedule(5),
        ShortSchedule(10),
        RelaxLoss(0.5),
        RelaxLoss(1.0),
        RelaxLoss(0.25),
    ),
    stops=(3, 4, 5, 6, 8),
    refits=REFITS,
    epoch_ends=True,
    with_head=True,
    pilot=True,
)

AUGMENTED = Setting(
    "augmented",
    "CIFAR-10, small ResNet, flip + crop",
    Recipe(model=ResNet(), epochs=24, keep=None, precision="bfloat16", augment=True),
    load,
    late=LATE,
    windows=((6, 12), (8, 14), (10, 16), (12, 19), (12, 23)),
    wide=((16, 23),),
    trainings=(Defense(), ShortSchedule(16), ShortSchedule(12)),
    stops=(8, 14, 20),
    refits=(
        (
            "PPTP refit",
            "from epochs 10-16",
            OutOfFoldRefit(LATE, 10, 16, folds=3, fork_epochs=8, epochs=8, lr=0.05),
        ),
    ),
    pilot=True,
)

if __name__ == "__main__":
    data = Path("../shared/data/cifar10.parquet")
    main(__doc__, (PLAIN, AUGMENTED), data, Path("results/pptp_cifar10"))
