"""Whatever touches a model, once on the CPU and once on the device of ``pretend``, in a process of its own.

torch counts its devices when it first takes a gradient, so a device has to be there before that. Prints by name how far
the answers lie apart, or what went wrong: ``python -m tests.pretended_runs defenses readings``.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from membrane.core.device import working_device, working_on
from membrane.core.generators import torch_generator
from membrane.defenses import dp_sgd
from membrane.models import ResNet, at_work, logits_of
from membrane.models.signals import device_of
from membrane.pptp import LOCATORS
from membrane.pptp.catalogue import DEFENSES
from membrane.readings import Reading
from membrane.training import Recipe, Trained, fit
from membrane.training.defense import Defense, Start
from membrane.verbs import locate
from tests.pretend import own_generator, pretended, registered
from tests.training.jobs import examples, recipe, small_recipe

Answers = npt.NDArray[np.floating[Any]]
MEMBERS, HOLDOUT, ASKED = examples(100), examples(60, seed=1), examples(6, seed=2)
MANY, OTHERS = examples(500), examples(500, seed=1)

# What makes a defense do its work on so little, and do it soon.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "early_stopping": {"epoch": 1},
    "short_schedule": {"epochs": 1},
    "weight_averaging": {"first": 0, "last": 1},
    "swa": {"start": 1},
    "mixup_mmd": {"gap": 0.0},
    "advreg": {"attack_steps": 1},
    "selena": {"models": 3, "left_out": 1},
    "kcd": {"folds": 2},
    "past": {"epochs": 1},
    "cwrf": {"steps": 2},
    "dp_sgd": {"delta": 1e-3},
    "memguard": {"epochs": 1},
    "purifier": {"epochs": 2},
    "pptp": {"max_candidates": 3, "max_accuracy_drop": 0.5},
    "frozen_plan": {"plan": {"stretches": [{"region": "head", "first": 0, "last": 1, "keep": 0.0}]}},
    "region_window": {"first": 0, "last": 1},
    "out_of_fold_refit": {"first": 0, "last": 1, "folds": 2, "fork_epochs": 1, "epochs": 1},
    "gradient_routing": {"regions": ["head"]},
    "rewind_refit": {"regions": ["head"], "first": 0, "last": 1, "epochs": 1},
}
READINGS: Mapping[str, Mapping[str, Any]] = {
    "Boundary": {"budget": 100},
    "NoisyLabels": {"copies": 3},
    "Expectation": {"folds": 2, "epochs": 1},
    "Revealed": {"epochs": 1, "refit": (-1,)},
    "Trajectory": {"epochs": 1},
}
LOCATED: Mapping[str, Mapping[str, Any]] = {
    "twin_swap": {"permutations": 2},
    "intervention": {"epochs": 1},
    "self_influence": {"checkpoints": 2, "examples": 50},
    "fisher_ratio": {"examples": 50},
}
RECIPES: Mapping[str, Recipe] = {
    "augment": recipe(augment=True),
    "trainable": recipe(trainable=("head",)),
    "lora": small_recipe(trainable=("head",), lora=2),
}


def under(defense: Defense) -> Recipe:
    """A recipe that trains a few batches under a defense."""
    network = ResNet((4,), (1,), norm="group" if defense.name == "dp_sgd" else "batch")
    return recipe(model=network, epochs=3 if defense.name == "pptp" else 2, batch_size=25, defense=defense)


def defended(name: str) -> Answers:
    """What the model says that a defense releases, asked where it was trained."""
    defense = DEFENSES.make({"name": name, **SETTINGS.get(name, {})})
    return asked(under(defense))


def asked(whole: Recipe) -> Answers:
    """Logits of a model that was trained, finished and released."""
    members, others = (MANY, OTHERS) if whole.defense.name == "pptp" else (MEMBERS, HOLDOUT)
    trained = fit(whole, members, others, 0)
    assert device_of(trained.model).type == "cpu"
    model = whole.defense.release(whole.defense.finish(trained, torch_generator(1)).model)
    with at_work(model):
        assert device_of(model).type == working_device().type
        found: Answers = logits_of(model, ASKED).numpy()
    assert device_of(model).type == "cpu"
    return found


@functools.cache
def _trained(n: int) -> Trained:
    return fit(recipe(epochs=4), MANY[:n], None, 0)


def _readings() -> dict[str, type[Reading]]:
    return {one.__name__: one for one in Reading.__subclasses__()}


def read(name: str) -> Answers:
    """What a reading reads off a model that is on the device."""
    reading = _readings()[name](**READINGS.get(name, {}))
    with at_work(_trained(100).model) as model:
        found = reading(model, ASKED, MANY[100:250], torch_generator(3))
        reading.columns(model, ASKED)
    return np.concatenate([part.ravel() for part in found])


def located(name: str) -> Answers:
    """Scores of an estimator."""
    subject = _trained(500)
    estimator = LOCATORS.make({"name": name, **LOCATED.get(name, {})})
    found = locate(subject.model, subject.trail, MANY, OTHERS, estimator=estimator, recipe=recipe(epochs=4))
    return np.array([region.leakage_drop.value for region in found.regions])


KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[str], Answers]]] = {
    "defenses": (tuple(DEFENSES), defended),
    "recipes": (tuple(RECIPES), lambda name: asked(RECIPES[name])),
    "readings": (tuple(_readings()), read),
    "locators": (tuple(LOCATORS), located),
}


def _noise(start: Start) -> torch.Generator:
    return own_generator(torch_generator(start.seed, "noise").initial_seed())


def _apart(name: str, answers: Callable[[str], Answers]) -> float | str:
    here = answers(name)
    try:
        with pretended() as device, working_on(device):
            there = answers(name)
    except Exception:  # whatever it is, it would happen on a GPU
        return traceback.format_exc(limit=-6)
    return float(np.abs(here - there).max())


@functools.cache
def apart(*kinds: str) -> dict[str, float | str]:
    """By name, how far the answers of all of these kinds lie apart, or what went wrong."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.pretended_runs", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    registered()
    dp_sgd._noise = _noise  # torch makes no generator for a device that is not there
    lacking = () if importlib.util.find_spec("opacus") else ("dp_sgd",)
    every = [(name, answers) for names, answers in map(KINDS.__getitem__, sys.argv[1:]) for name in names]
    print(json.dumps({name: _apart(name, answers) for name, answers in every if name not in lacking}))
