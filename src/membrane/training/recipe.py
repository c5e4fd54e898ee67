"""A recipe: everything about how a model is trained, in one frozen value.

A recipe is a function from members, holdout and a generator to a model, so whatever takes a user's own
training function takes a recipe too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from membrane.core.errors import raise_all
from membrane.core.generators import spawn_seed
from membrane.core.settings import to_plain
from membrane.data.examples import Examples
from membrane.data.loader import Augment, flip_and_crop
from membrane.models import Model, ResNet, file_checksum
from membrane.training.defense import Defense, Trained

TRAINING_VERSION = 2  # raise when a change alters trained weights; stored trainings are then not reused
_LATER: dict[str, object] = {
    "start": None,
    "trainable": None,
    "lora": 0,
    "nesterov": True,
    "warmup": 1,
    "milestones": [],
    "stop": None,
}
_LATER_OF_MODELS: dict[str, object] = {"standardize": True}


@dataclass(frozen=True)
class Recipe:
    """SGD; by default with Nesterov momentum, a linear warm-up over the first epoch, then a cosine to zero.

    Args:
        model: Network to train.
        epochs: Passes over the members.
        batch_size: Examples per update.
        lr: Peak learning rate, for batches of ``batch_size``.
        momentum: From 0 to below 1.
        weight_decay: L2 coefficient, coupled as in SGD.
        augment: Random flip and 4-pixel crop (images).
        defense: What protects the model.
        keep: Epochs that the trail keeps (None: every epoch).
        compile: Train through ``torch.compile``; needs a C++ compiler, pays for long runs.
        precision: Of the forward pass: "float32", or "bfloat16" for autocast, which trains faster where the
            processor has bfloat16 arithmetic. Weights, loss and everything measured stay in float32.
        start: Path of a safetensors file to begin from (fine-tuning); a head for other classes is drawn anew.
            Nothing begins from fresh weights.
        trainable: Names of the regions that are trained, such as ["head"]; the others stay exactly as they begin,
            normalization statistics included. Nothing trains all.
        lora: Rank of low-rank adapters on the linear layers outside of ``trainable``, merged into their weights; 0
            for none.
        nesterov: Whether momentum is Nesterov's.
        warmup: Epochs over which the learning rate rises linearly; 0 for none, and at least one epoch comes after them.
        milestones: In place of the cosine, pairs of a share of the training, 0 to below 1, and the share of ``lr`` from
            there on: [[0.5, 0.1], [0.8, 0.01]] divides by 10 in the middle and again after four fifths.
        stop: Epochs after which training ends, although the learning rate goes by ``epochs``; nothing for all of them.
    """

    model: Model = field(default_factory=ResNet)
    epochs: int = 24
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = False
    defense: Defense = field(default_factory=Defense)
    keep: int | None = 12
    compile: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    start: str | None = None
    trainable: tuple[str, ...] | None = None
    lora: int = 0
    nesterov: bool = True
    warmup: int = 1
    milestones: tuple[tuple[float, float], ...] = ()
    stop: int | None = None

    def __post_init__(self) -> None:
        fits = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "precision": (self.precision in ("float32", "bfloat16"), "float32 or bfloat16"),
            "lora": (self.lora >= 0, "0 or more"),
            "keep": (self.keep is None or self.keep >= 2, "2 or more, or nothing for every epoch"),
            "warmup": (self.warmup >= 0, "0 or more"),
            "milestones": (_rise(self.milestones), "pairs of a share of the training, rising, and a share of lr"),
            "stop": (self.stop is None or 1 <= self.stop <= self.epochs, "from 1 to epochs, or nothing"),
        }
        found = [
            f"recipe: {name} is {getattr(self, name)}; it must be {rule}."
            for name, (ok, rule) in fits.items()
            if not ok
        ]
        if self.trainable is None and self.lora > 0:
            found.append(
                'recipe: lora adapts what is not trained in full; name the regions that are: trainable = ["head"].'
            )
        if self.trainable == () and self.lora == 0:
            found.append("recipe: trainable is empty, so nothing would be trained; name regions, or set lora.")
        raise_all(found)

    @property
    def n_epochs(self) -> int:
        """Epochs that are trained."""
        return self.epochs if self.stop is None else self.stop

    @property
    def augmentation(self) -> Augment | None:
        """What training does to its inputs."""
        return flip_and_crop if self.augment else None

    def with_defense(self, defense: Defense) -> Recipe:
        """The same recipe under another defense."""
        return replace(self, defense=defense)

    def again(self, epochs: int, lr: float, defense: Defense) -> Recipe:
        """The same for a further training, from weights that are given to it; no history is kept."""
        return replace(self, epochs=epochs, lr=lr, defense=defense, keep=2, start=None, stop=None)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of an update, counted from 0."""
        warm, total = min(self.warmup, self.epochs - 1) * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warm:
            return self.lr * (step + 1) / warm
        if self.milestones:
            return self.lr * next((part for share, part in reversed(self.milestones) if step / total >= share), 1.0)
        done = (step - warm) / max(total - warm, 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))

    def training_settings(self) -> dict[str, object]:
        """Settings that decide the trained weights: the training key of the store is made from them."""
        settings: dict[str, object] = to_plain(self.with_defense(self.defense.trained_as()))
        settings.pop("name", None)  # under which a recipe is known shapes no weight
        if self.start is not None:
            settings["start"] = file_checksum(self.start)  # what begins is the content, wherever it lies
        # Left out where they change nothing: trainings from before these settings keep their key.
        settings["model"] = _without(_LATER_OF_MODELS, to_plain(self.model))
        return _without(_LATER, settings)

    def __call__(self, members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
        """Train, finish and return the model to release.

        Raises:
            TrainingError: If the loss stops being finite.
        """
        from membrane.training.loop import fit

        seed = spawn_seed(generator)
        trained: Trained = fit(self, members, holdout, seed)
        finished = self.defense.finish(trained, generator)
        return self.defense.release(finished.model)


def _without(later: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name not in later or value != later[name]}


def _rise(milestones: tuple[tuple[float, float], ...]) -> bool:
    """Whether they are pairs, the shares of the training rising within 0 to below 1 and those of ``lr`` above 0."""
    if any(len(one) != 2 for one in milestones):
        return False
    shares = [share for share, _ in milestones]
    return (
        shares == sorted(set(shares))
        and all(0 <= share < 1 for share in shares)
        and all(0 < part < math.inf for _, part in milestones)
    )
