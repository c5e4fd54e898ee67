"""A small network whose memory lies in one known region, and the same kind of network trained as usual."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch

from membrane.core.generators import torch_generator
from membrane.data import Digits, Examples
from membrane.models import MLP
from membrane.pptp import Probe, Subject
from membrane.pptp.locators import Memories, plant
from membrane.training import Recipe, Trained, fit

RECIPE = Recipe(model=MLP(), epochs=12, batch_size=50, lr=0.03, weight_decay=0.0, keep=4)
MEMORIZE = replace(RECIPE, epochs=80, lr=0.1, keep=5)
REGIONS = ("hidden1", "hidden2", "head")


@functools.cache
def _pool() -> tuple[Examples, Examples]:
    splits = Digits(test=297).load()
    return splits.train, splits.test


@functools.cache
def begun(seed: int) -> Trained:
    """Trained on 297 ordinary digits."""
    return fit(RECIPE, _pool()[1], None, seed)


def memories(seed: int) -> Memories:
    """Mislabelled digits, and some ordinary ones."""
    pool, _ = _pool()
    generator = torch_generator(seed, "memories")
    shuffled = pool[torch.randperm(len(pool), generator=generator)]
    shift = torch.randint(1, 10, (len(pool),), generator=generator)
    wrong = shuffled.relabelled((shuffled.y + shift) % 10)
    return Memories(wrong[:500], wrong[500:900], wrong[900:1400], shuffled[1400:])


@functools.cache
def planted(region: str, seed: int = 0) -> Subject:
    """A network that memorized 500 wrong labels in one region."""
    return plant(begun(seed), region, memories(seed), MEMORIZE, torch_generator(seed, "plant", region))


@functools.cache
def ordinary(seed: int = 0) -> tuple[Subject, Examples]:
    """A network that was trained on 500 digits, a fifth of them mislabelled, and its holdout."""
    pool, _ = _pool()
    generator = torch_generator(seed, "ordinary")
    shuffled = pool[torch.randperm(len(pool), generator=generator)]
    noisy = shuffled.relabelled(torch.where(torch.rand(len(pool), generator=generator) < 0.2, 3, shuffled.y))
    members, holdout = noisy[:500], noisy[500:1100]
    recipe = replace(RECIPE, epochs=30, keep=5)
    trained = fit(recipe, members, None, seed)
    probe = Probe(trained.model, trained.trail, members, holdout, torch_generator(seed, "probe"))
    return Subject(probe, members, recipe), holdout
