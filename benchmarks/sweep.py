"""What a sweep of defenses costs on top of the trainings that they share.

    python benchmarks/sweep.py FOLDER [--data ../shared/data] [--only location] [--models 16] [--epochs 40]

Undefended models are trained and released first; then every one of them is released under 12 plans of PPTP, early
stopping at 3 epochs and 3 windows of the whole network, each release asked about the whole pool and the test set.
Prints (trainings + sweep) / trainings, from one run on one thread, by the clock on the wall and by the processor's,
which other work on the machine does not lengthen; above the bar of 1.3 on the wall it ends with status 1.

    location  MLP on 446 features, 40 epochs on 1 500 examples (location30.parquet)
    cifar     ResNet of 16 to 128 channels, 24 epochs on 5 000 images (cifar10.parquet)

Printed beside it, as the limit: what the ratio would be if a release took nothing but its forward passes, over pool,
test set and whatever normalization statistics are recomputed on, as fast as they were by themselves. Plans are those of
four contiguous sets of regions at three windows, as PPTP chooses them; the windows lie at shares of the schedule.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from membrane.core import Store
from membrane.core.text import duration
from membrane.data import Parquet, Splits, Table, Task, make_task
from membrane.defenses import EarlyStopping, WeightAveraging
from membrane.models import logits_of
from membrane.pptp import FrozenPlan, Plan
from membrane.regions import calibration_sample, recalibrate
from membrane.training import RECIPES, Defense, Recipe, sweep_fleet, train_fleet, train_model
from membrane.training.engines import InProcess
from membrane.training.threads import threads

T = TypeVar("T")
SEED, BAR = 0, 1.3
ENGINE = InProcess(threads=1)
SHARES = ((0.1, 0.25), (0.15, 0.35), (0.2, 0.5))  # of the schedule: first and last epoch of a window


@dataclass(frozen=True)
class Setting:
    """What is trained and swept.

    Args:
        recipe: Settings of a recipe by name.
        load: Train and test split.
        sets: Regions that plans move.
        pool: Examples of which every model trains on half.
        test: Examples to test on.
    """

    recipe: dict[str, Any]
    load: Callable[[Path], Splits]
    sets: tuple[tuple[str, ...], ...]
    pool: int
    test: int

    def task(self, data: Path, n_models: int) -> Task:
        """Data and membership."""
        splits = self.load(data)
        splits = Splits(splits.train, splits.test[: self.test])
        how = {"holdout": 0, "canaries": 0, "seed": SEED, "allow_duplicates": True}
        return make_task(splits, n_models=n_models, pool=self.pool, **how)

    def defenses(self, epochs: int) -> list[Defense]:
        """Everything that the trained models are released under."""
        windows = [(round(first * epochs), round(last * epochs)) for first, last in SHARES]
        plans = [FrozenPlan(Plan.same(regions, *window)) for regions in self.sets for window in windows]
        stops = [EarlyStopping(last) for _, last in windows]
        return [*plans, *stops, *(WeightAveraging(*window) for window in windows)]


SETTINGS = {
    "location": Setting(
        {"name": "fast_location30"},
        lambda data: Table(str(data / "location30.parquet")).load(),
        (("hidden1",), ("hidden1", "hidden2"), ("hidden2",), ("hidden2", "head")),
        pool=3000,
        test=1002,
    ),
    "cifar": Setting(
        {"name": "fast_cifar10"},
        lambda data: Parquet(str(data / "cifar10.parquet")).load(),
        (
            ("stage3", "stage4"),
            ("stage2", "stage3", "stage4"),
            ("stage2", "stage3", "stage4", "head"),
            ("stage1", "stage2", "stage3", "stage4", "head"),
        ),
        pool=10_000,
        test=5000,
    ),
}


def timed(work: Callable[[], T]) -> tuple[float, float, T]:
    """Seconds on the wall, seconds of the processor, and what comes of it."""
    start, at_work = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - start, time.process_time() - at_work, result


def forward_seconds(recipe: Recipe, task: Task, store: Store) -> float:
    """What one release's forward passes take, the fastest of three."""
    trained = train_model(recipe, task, store, SEED, 0)

    def passes() -> None:
        recalibrate(trained.model, calibration_sample(trained.members.x), augment=trained.augment)
        for part in (task.pool, task.test):
            logits_of(trained.model, part)

    return min(timed(passes)[0] for _ in range(3))


def measure(name: str, setting: Setting, data: Path, folder: Path, models: int, epochs: int | None) -> list[str]:
    """Train, sweep, print; what is wrong."""
    recipe: Recipe = RECIPES.make(setting.recipe)
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    task, store, defenses = setting.task(data, models), Store(folder), setting.defenses(recipe.epochs)
    if len(set(defenses)) != len(defenses):
        return [f"{name}: {recipe.epochs} epochs are too few for windows that differ"]
    train_fleet(replace(recipe, epochs=1), task, Store(folder / "warm"), SEED, rows=[0, 1], engine=ENGINE)
    trainings, at_work, _ = timed(lambda: train_fleet(recipe, task, store, SEED, engine=ENGINE))
    sweep, at_sweep, banks = timed(lambda: list(sweep_fleet(recipe, defenses, task, store, SEED, engine=ENGINE)))
    with threads(1):
        alone = forward_seconds(recipe, task, store) * len(defenses) * models
    ratio, limit = 1 + sweep / trainings, 1 + alone / trainings
    n = len(defenses) * models
    print(
        f"{name}: {models} trainings of {recipe.epochs} epochs {duration(trainings)}, {n} releases {duration(sweep)} "
        f"({1000 * sweep / n:.0f} ms each, forward passes {1000 * alone / n:.0f} ms of it)\n"
        f"  (trainings + sweep) / trainings: {ratio:.2f}, by the processor's clock {1 + at_sweep / at_work:.2f}; with "
        f"forward passes alone {limit:.2f}; the bar is {BAR}\n"
        f"  test accuracy {min(float(bank.test.correct.mean()) for bank in banks):.3f} to "
        f"{max(float(bank.test.correct.mean()) for bank in banks):.3f}",
        flush=True,
    )
    return [f"{name}: a sweep costs {ratio:.2f} trainings; the bar is {BAR}"] if ratio > BAR else []


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where stores may lie for the time being")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data files")
    parser.add_argument("--only", choices=tuple(SETTINGS), help="one setting")
    parser.add_argument("--models", type=int, default=16, help="that are trained, even")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    args = parser.parse_args()
    problems = []
    for name, setting in SETTINGS.items():
        if args.only in (None, name):
            folder = args.folder / "sweep"
            problems += measure(name, setting, args.data, folder, args.models, args.epochs)
            shutil.rmtree(folder)
    print("\n".join(problems) or "no problems")
    print(f"torch {torch.__version__}, {os.cpu_count()} processors")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
