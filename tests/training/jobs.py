"""A fleet so small that it trains in a moment, for processes to be killed in the middle of it."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import nn

from membrane.core import Store
from membrane.core.generators import torch_generator
from membrane.data import Examples, Splits, Task, make_task
from membrane.models import MLP, ResNet
from membrane.regions import copy_state
from membrane.training import Bank, Recipe, fit, train_fleet

N_MODELS = 4


def examples(n: int, seed: int = 0, n_classes: int = 3) -> Examples:
    """Small noisy images, a bright row for each class: learnable, and soon learnt by heart."""
    generator = torch_generator(seed, "examples")
    y = torch.randint(n_classes, (n,), generator=generator)
    x = torch.randint(0, 200, (n, 1, 4, 4), generator=generator)
    x[torch.arange(n), 0, y] += 55
    return Examples(x.to(torch.uint8), y, tuple("abcdefghij"[:n_classes]))


def task(seed: int = 0, pool: int = 120) -> Task:
    whole = examples(pool + 70)
    splits = Splits(whole[: pool + 30], whole[pool + 30 :])
    return make_task(splits, n_models=N_MODELS, pool=pool, holdout=30, canaries=6, seed=seed)


def recipe(**changes: object) -> Recipe:
    """ResNet of a few hundred parameters, BatchNorm included."""
    settings = {"model": ResNet((4, 4), (1, 1)), "epochs": 3, "batch_size": 16, "keep": None}
    return Recipe(**{**settings, **changes})  # type: ignore[arg-type]


def small_recipe(**changes: object) -> Recipe:
    return recipe(**{"model": MLP((8,)), **changes})


def run_fleet(root: Path) -> None:
    """Train a bank, as many epochs as it takes to be killed in the middle."""
    torch.set_num_threads(1)
    train_fleet(recipe(epochs=8), task(), Store(root), seed=0)


def own_loop(members: Examples, holdout: Examples, generator: torch.Generator, log: Path, epochs: int = 2) -> nn.Module:
    """A user's function that writes down when it begins and ends."""
    name = members.checksum()
    with log.open("a") as file:
        file.write(f"begin {name}\n")
    seed = int(torch.randint(1_000, (1,), generator=generator))
    model = fit(small_recipe(epochs=epochs), members, holdout, seed).model
    with log.open("a") as file:
        file.write(f"end {name}\n")
    return model


def run_own_loop(root: Path, log: Path, epochs: int) -> None:
    torch.set_num_threads(1)
    train_fleet(functools.partial(own_loop, log=log, epochs=epochs), task(), Store(root), seed=0)


def bank_bits(bank: Bank) -> list[bytes]:
    return [field.tobytes() for part in (bank.pool, bank.test) for field in part.arrays().values()]


def weight_bits(model: nn.Module) -> list[tuple[str, bytes]]:
    return [(key, value.contiguous().numpy().tobytes()) for key, value in copy_state(model).items()]
