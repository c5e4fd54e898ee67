"""PPTP on a transformer: CIFAR-10, a ViT with 8x8 patches and 0.69 M parameters; otherwise as for the ResNet."""

from __future__ import annotations

from pathlib import Path

from frontier import Setting, main

from membrane.data import Parquet, Splits
from membrane.defenses import ShortSchedule
from membrane.models import ViT
from membrane.training import Defense, Recipe


def load(path: Path) -> Splits:
    """Parquet of encoded images."""
    return Parquet(str(path)).load()


PLAIN = Setting(
    "plain",
    "CIFAR-10, small ViT, no augmentation",
    Recipe(model=ViT(patch=8), epochs=24, keep=None, lr=0.05),
    load,
    late=("blocks.3", "blocks.4", "blocks.5"),
    windows=((4, 8), (6, 12), (8, 16)),
    wide=(),
    trainings=(Defense(), ShortSchedule(10)),
    stops=(8,),
    budgets=(0.0, 0.02),
)

if __name__ == "__main__":
    data = Path("../shared/data/cifar10.parquet")
    main(__doc__, (PLAIN,), data, Path("results/pptp_vit"))
