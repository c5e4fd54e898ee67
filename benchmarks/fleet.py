"""Models per hour: our engines, a well-set PyTorch loop, and the usual loop of audit tools, at equal accuracy.

    python benchmarks/fleet.py FOLDER [--data ../shared/data] [--only location] [--models 16] [--epochs 40]

One run, one machine; every way trains the same number of models of the same recipe on the same members, one way after
the other, and the ratios are between their wall-clock times. Initial weights and order of batches are each way's own,
so mean test accuracies must agree within three standard errors of their difference, or the run ends with status 1.
Sizes of batches divide the members: a short last batch, which membrane avoids, would tell the ways apart. Status 1
also where the fastest of our engines misses its bar against the well-set loop.

    digits    ResNet of 8 to 32 channels on 8x8 images, bar 3
    location  MLP on 446 features (location30.parquet), bar 3
    cifar     ResNet of 16 to 128 channels on 5 000 images (cifar10.parquet), bar 1.3; how far from the processor's
              measured speed at multiplying matrices
    resnet18  ResNet-18 on 25 000 images, needs a CUDA device: loops and ours on it, one model after the other

The ways:

    usual     a data set that gives out one example at a time, scaled as it is read, a DataLoader with its defaults;
              loss and accuracy read off every batch, as tools do that print them
    well-set  whole batches sliced from one tensor by a DataLoader, number of worker processes and of threads as is
              fastest in a trial before; channels last, and on a GPU pinned memory, TF32, asynchronous copies
    alone     membrane's loop, one model after the other, on the threads that are fastest in the same trial
    in_process, processes   `train_fleet` with that engine on one thread a process, stacks where it makes them; "all
              threads" is the default, one process on as many threads as the well-set loop; into the clock falls all
              that it does beyond training: trail, signals on pool and test, writing, starting workers

Figures for 64 and 256 models are extrapolated from the rate measured and labelled so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from membrane.core import Store
from membrane.core.generators import torch_generator
from membrane.core.text import duration
from membrane.data import Digits, Examples, Parquet, Splits, Table, Task, make_task
from membrane.data.loader import as_inputs, flip_and_crop
from membrane.models import MLP, ResNet, ResNet18, signals_of
from membrane.training import Recipe, fit, train_fleet
from membrane.training.engines import Engine, InProcess, Processes
from membrane.training.stacked.eligible import multiplications
from membrane.training.threads import processors, threads

SEED = 0
TRIAL_BATCHES = 30
EXTRAPOLATED = (64, 256)


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        recipe: How.
        load: Train and test split.
        pool: Examples of which every model trains on half.
        test: Examples to test on.
        bar: Least ratio of the fastest of our engines to the well-set loop.
        on_gpu: Whether a CUDA device is needed.
    """

    recipe: Recipe
    load: Callable[[Path], Splits]
    pool: int
    test: int
    bar: float | None
    on_gpu: bool = False

    def task(self, data: Path, n_models: int) -> Task:
        """Data and membership."""
        splits = self.load(data)
        splits = Splits(splits.train, splits.test[: self.test])
        how = {"holdout": 0, "canaries": 0, "seed": SEED, "allow_duplicates": True}
        return make_task(splits, n_models=n_models, pool=self.pool, **how)


SETTINGS = {
    "digits": Setting(
        Recipe(model=ResNet((8, 16, 32), (1, 1, 1)), epochs=20, batch_size=50, lr=0.03),
        lambda data: Digits(test=297).load(),
        pool=1500,
        test=297,
        bar=3.0,
    ),
    "location": Setting(
        Recipe(model=MLP(), epochs=40, batch_size=60, lr=0.01),
        lambda data: Table(str(data / "location30.parquet")).load(),
        pool=3000,
        test=1002,
        bar=3.0,
    ),
    "cifar": Setting(
        Recipe(model=ResNet(), epochs=4, batch_size=125),
        lambda data: Parquet(str(data / "cifar10.parquet")).load(),
        pool=10_000,
        test=5000,
        bar=1.3,
    ),
    "resnet18": Setting(
        Recipe(model=ResNet18(), epochs=30, augment=True, precision="bfloat16"),
        lambda data: Parquet(str(data / "cifar10.parquet")).load(),
        pool=48_000,
        test=10_000,
        bar=None,
        on_gpu=True,
    ),
}


class OneByOne(Dataset[tuple[Tensor, Tensor]]):
    """Examples as most data sets give them out: one, scaled when it is read."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Input and label."""
        return as_inputs(self.examples.x[i : i + 1])[0], self.examples.y[i]


class ByBatch(Dataset[tuple[Tensor, Tensor]]):
    """Examples by the batch: one slice of a tensor that was scaled once."""

    def __init__(self, examples: Examples) -> None:
        self.x, self.y = as_inputs(examples.x[:]), examples.y
        if self.x.ndim == 4:
            self.x = self.x.contiguous(memory_format=torch.channels_last)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: list[int]) -> tuple[Tensor, Tensor]:
        """Inputs and labels."""
        chosen = torch.tensor(index)
        return self.x[chosen], self.y[chosen]


@dataclass(frozen=True)
class Loop:
    """A training loop without membrane.

    Args:
        name: Of the way.
        recipe: Whose network, optimizer and schedule it has.
        device: Where.
        well_set: Or as usual.
        workers: Processes that load.
        n_threads: That torch computes with.
    """

    name: str
    recipe: Recipe
    device: torch.device
    well_set: bool
    workers: int = 0
    n_threads: int = 1

    def loader(self, members: Examples) -> DataLoader[tuple[Tensor, Tensor]]:
        """Its DataLoader."""
        if not self.well_set:
            return DataLoader(OneByOne(members), self.recipe.batch_size, shuffle=True)
        data = ByBatch(members)
        return DataLoader(
            data,
            batch_size=None,
            sampler=BatchSampler(RandomSampler(data), self.recipe.batch_size, drop_last=False),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def train(self, members: Examples, seed: int, most_batches: int | None = None) -> nn.Module:
        """A trained model, or one of so many batches."""
        recipe = self.recipe
        model = recipe.model.build(members, torch_generator(seed, "weights")).to(self.device)
        if self.well_set and members.x.ndim == 4:
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
        )
        loader, draws, step = self.loader(members), torch_generator(seed, "augment"), 0
        seen: list[float] = []
        for _epoch in range(recipe.epochs):
            model.train()
            for x, y in loader:
                for group in optimizer.param_groups:
                    group["lr"] = recipe.lr_at(step, len(loader))
                x, y = (one.to(self.device, non_blocking=self.well_set) for one in (x, y))
                x = flip_and_crop(x, draws) if recipe.augment else x
                with torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    logits = model(x)
                loss = nn.functional.cross_entropy(logits.float(), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                if not self.well_set:
                    seen += [loss.item(), (logits.argmax(1) == y).float().mean().item()]
                step += 1
                if step == most_batches:
                    return model
        return model.eval()


def tuned(loop: Loop, members: Examples) -> Loop:
    """The loop with the worker processes and threads that it is fastest with."""
    found: dict[Loop, float] = {}
    epochs = max(1, TRIAL_BATCHES * loop.recipe.batch_size // len(members))
    short = replace(loop.recipe, epochs=epochs)
    for workers in (0, 1, 2):
        for n_threads in sorted({1, processors()}):
            one = replace(loop, recipe=short, workers=workers, n_threads=n_threads)
            with threads(n_threads):
                one.train(members, 0, 3)
                start = time.perf_counter()
                one.train(members, 0)
            found[replace(one, recipe=loop.recipe)] = time.perf_counter() - start
    return min(found, key=lambda one: found[one])


def by_loop(loop: Loop, task: Task) -> Iterator[float]:
    """Trains every model of the task; test accuracies, after the clock has stopped."""
    with threads(loop.n_threads):
        models = [loop.train(task.members(row), row) for row in range(len(task.membership))]
    yield from accuracies(models, task)


def alone(recipe: Recipe, task: Task, device: torch.device, n_threads: int) -> Iterator[float]:
    """The same by membrane's loop, one model after the other."""
    with threads(n_threads):
        models = [fit(recipe, task.members(row), None, row, device).model for row in range(len(task.membership))]
    yield from accuracies(models, task)


def accuracies(models: list[nn.Module], task: Task) -> Iterator[float]:
    """Of each model on the test set; the first value comes when all are trained, and is no accuracy."""
    yield float("nan")
    yield from (float(signals_of(model.cpu().eval(), task.test).correct.mean()) for model in models)


def by_engine(engine: Engine, recipe: Recipe, task: Task, folder: Path) -> Iterator[float]:
    """The same by a fleet."""
    bank = train_fleet(recipe, task, Store(folder), SEED, engine=engine)
    yield float("nan")
    yield from bank.test.correct.mean(axis=(1, 2)).tolist()


@dataclass(frozen=True)
class Timed:
    """What one way took.

    Args:
        seconds: Of all models.
        accuracy: Of each on the test set.
    """

    seconds: float
    accuracy: list[float]

    @property
    def mean(self) -> float:
        """Accuracy."""
        return statistics.fmean(self.accuracy)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return statistics.stdev(self.accuracy) / len(self.accuracy) ** 0.5


def timed(way: Iterator[float]) -> Timed:
    """Seconds to the first value, and the others."""
    start = time.perf_counter()
    next(way)
    return Timed(time.perf_counter() - start, list(way))


def ways(setting: Setting, task: Task, folder: Path) -> Iterator[tuple[str, Iterator[float]]]:
    """All ways, the loops first."""
    recipe, device = setting.recipe, torch.device("cuda" if setting.on_gpu else "cpu")
    best = tuned(Loop("well-set", recipe, device, well_set=True), task.members(0))
    print(f"  well-set: {best.workers} loading processes, {best.n_threads} threads", flush=True)
    yield "usual", by_loop(Loop("usual", recipe, device, well_set=False, n_threads=processors()), task)
    yield "well-set", by_loop(best, task)
    yield "alone", alone(recipe, task, device, best.n_threads)
    if not setting.on_gpu:
        yield "all threads", by_engine(InProcess(threads=best.n_threads), recipe, task, folder / "all_threads")
        yield "in_process", by_engine(InProcess(threads=1), recipe, task, folder / "in_process")
        yield "processes", by_engine(Processes(threads=1), recipe, task, folder / "processes")


def peak(n_threads: int) -> float:
    """Floating-point operations a second when large matrices are multiplied."""
    a, b = (torch.rand(1536, 1536, generator=torch_generator(i)) for i in range(2))
    best = float("inf")
    with threads(n_threads):
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - start)
    return 2 * 1536**3 / best


def report(name: str, setting: Setting, task: Task, found: dict[str, Timed]) -> list[str]:
    """Print the rates; what is wrong."""
    n, base = len(task.membership), found["well-set"]
    shape = tuple(task.pool.x.shape[1:])
    with torch.device("meta"):
        net = setting.recipe.model.network(shape, len(task.pool.classes))
        each = 6 * multiplications(net, shape)  # forward, and twice that backward; a multiplication and an addition
    work = each * setting.recipe.epochs * task.membership.sum()
    most = None if setting.on_gpu else peak(processors())
    problems = []
    print(f"  {'way':<12}{'models/h':>10}{'to well-set':>13}{'test accuracy':>22}{'of the peak':>13}")
    for way, one in found.items():
        share = "" if most is None else f"{work / one.seconds / most:.1%}"
        rate = f"{n / one.seconds * 3600:,.0f}"
        print(
            f"  {way:<12}{rate:>10}{base.seconds / one.seconds:>12.2f}x"
            f"{f'{one.mean:.4f} (se {one.error:.4f})':>22}{share:>13}"
        )
        apart = abs(one.mean - base.mean)
        if apart > 3 * (one.error**2 + base.error**2) ** 0.5:
            problems.append(f"{name}: {way} ends {apart:.4f} of accuracy from the well-set loop")
    ours = {way: one for way, one in found.items() if way not in ("usual", "well-set")}
    fastest = min(ours, key=lambda way: ours[way].seconds)
    ratio = base.seconds / ours[fastest].seconds
    if setting.bar is not None and ratio < setting.bar:
        problems.append(
            f"{name}: {fastest} is {ratio:.2f} times as fast as the well-set loop; the bar is {setting.bar}"
        )
    for more in EXTRAPOLATED:
        times = ", ".join(f"{way} {duration(found[way].seconds * more / n)}" for way in ("usual", "well-set", fastest))
        print(f"  {more} models, extrapolated from {n}: {times}")
    return problems


def main() -> int:
    """Time, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where stores may lie for the time being")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data files")
    parser.add_argument("--only", choices=tuple(SETTINGS), help="one setting")
    parser.add_argument("--models", type=int, default=16, help="that are trained by each way, even")
    parser.add_argument("--epochs", type=int, help="instead of the setting's")
    args = parser.parse_args()
    problems = []
    for name, setting in SETTINGS.items():
        if args.only not in (None, name):
            continue
        if setting.on_gpu and not torch.cuda.is_available():
            print(f"{name}: not measured, torch sees no CUDA device")
            continue
        if args.epochs:
            setting = replace(setting, recipe=replace(setting.recipe, epochs=args.epochs))
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        folder = args.folder / "fleet"
        task = setting.task(args.data, args.models)
        n_members = int(np.median(task.membership.sum(1)))
        print(f"{name}: {args.models} models, {setting.recipe.epochs} epochs on {n_members:,} examples", flush=True)
        found = {}
        for way, work in ways(setting, task, folder):
            found[way] = timed(work)
        problems += report(name, setting, task, found)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    print(f"torch {torch.__version__}, {processors()} processors, load {os.getloadavg()[0]:.1f}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
