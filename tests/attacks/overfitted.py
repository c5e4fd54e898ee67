"""Eight small networks that know half of a few digits by heart, wrong labels included; trained once, in seconds."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from typing import Any

from membrane.attacks import ATTACKS, Attack
from membrane.core import Store
from membrane.data import Digits, Task, make_task
from membrane.models import MLP
from membrane.readings import distinct
from membrane.training import Bank, Recipe, train_fleet

# Settings under which costly attacks take a moment.
_NETWORKS: Mapping[str, Any] = {"hidden": (16,), "steps": 100, "lr": 0.02}
QUICK: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("label_learned", "shadow_classifier", "ml_leaks", "white_box"), _NETWORKS),
    "rmia_taylor": {"queries_by": "identity"},  # nobody learnt a mirrored digit
    "label_boundary": {"budget": 200},
    "label_noise": {"copies": 20, "noise": 0.1},
    "loss_trajectory": {**_NETWORKS, "epochs": 5},
    "quantile_regression": {"folds": 2, "epochs": 8},
    "label_augmented": {"by": "rotations", "reach": 8},
}
RECIPE = Recipe(MLP((64,)), epochs=40, batch_size=20, lr=0.1, keep=2)


@functools.cache
def attacks() -> tuple[Attack, ...]:
    """One of each kind in the catalogue."""
    return tuple(ATTACKS.make({"name": name, **QUICK.get(name, {})}) for name in ATTACKS)


@functools.cache
def task() -> Task:
    """200 digits, 60 of them under wrong labels, each in four of eight training sets; 120 digits as population."""
    splits = Digits(test=120).load()
    return make_task(splits, n_models=8, pool=200, holdout=0, canaries=60, seed=0)


@functools.cache
def bank() -> Bank:
    """What the eight say, and everything that an attack wants read off them."""
    readings = distinct(reading for attack in attacks() for reading in attack.readings)
    with tempfile.TemporaryDirectory() as folder:
        return train_fleet(RECIPE, task(), Store(folder), seed=0, readings=readings)
