"""PPTP on 100 classes of Tiny ImageNet at 32x32, 50 images of each in a training set; otherwise as on CIFAR-10."""

from __future__ import annotations

from pathlib import Path

from frontier import Setting, main

from membrane.data import Parquet, Splits
from membrane.defenses import ShortSchedule
from membrane.models import ResNet
from membrane.training import Defense, Recipe


def load(path: Path) -> Splits:
    """Parquet of encoded images."""
    return Parquet(str(path)).load()


PLAIN = Setting(
    "plain",
    "Tiny ImageNet (100 classes, 32x32), small ResNet, no augmentation",
    Recipe(model=ResNet(), epochs=24, keep=None, precision="bfloat16"),
    load,
    late=("stage3", "stage4"),
    windows=((2, 4), (3, 6), (4, 9)),
    wide=(),
    trainings=(Defense(), ShortSchedule(7)),
    stops=(5,),
    budgets=(0.0, 0.02),
)

if __name__ == "__main__":
    data = Path("../shared/data/tiny_imagenet_100.parquet")
    main(__doc__, (PLAIN,), data, Path("results/pptp_tiny_imagenet"))
