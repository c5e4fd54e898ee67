"""A small real training that several rooms' tests share: digits, a narrow ResNet, seconds."""

from __future__ import annotations

import functools

import torch

from membrane.core.generators import torch_generator
from membrane.data import Digits, Task, make_task
from membrane.models import ResNet
from membrane.pptp import Probe
from membrane.training import Recipe, Trained, fit

RECIPE = Recipe(model=ResNet(widths=(8, 16, 32), blocks=(1, 1, 1)), epochs=14, batch_size=50, lr=0.03, keep=None)


@functools.cache
def task() -> Task:
    """4 models, 500 members each, 500 holdout, 50 mislabelled canaries."""
    return make_task(Digits(test=297).load(), n_models=4, pool=1000, holdout=500, canaries=50, seed=0)


@functools.cache
def trained() -> Trained:
    """One undefended model that has memorized its members, canaries included."""
    with torch.random.fork_rng():
        return fit(RECIPE, task().members(0), task().holdout, seed=1)


def probe(seed: int = 0) -> Probe:
    """Probe of that model."""
    one = trained()
    return Probe(one.model, one.trail, one.members, one.holdout, torch_generator(seed, "probe"))
