"""Training of a stack: the one loop, on one network that is R of them.

Every model has the first weights, the order of batches and the augmentation that it has alone. Sums inside of
layers are added up in another order, so each update is that of a training alone up to rounding, and many updates differ
by as far as training carries that (perceptrons 1e-6, often nothing; BatchNorm carries it farther); the training key
knows stacks. How many models are in a stack, and which, changes no bit. A stack computes with one thread, so that this
holds however torch would deal work out to several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader
from membrane.models import laid_out
from membrane.regions.edit import copy_state, load_state
from membrane.regions.trail import Trail
from membrane.training.defense import Defense, Trained
from membrane.training.loop import run_epochs, sgd
from membrane.training.memory import training_memory
from membrane.training.recipe import Recipe
from membrane.training.stacked.net import slice_of, stack
from membrane.training.threads import threads


def fit_stack(
    recipe: Recipe,
    members: Sequence[Examples],
    holdout: Examples | None,
    seeds: Sequence[int],
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trained]:
    """Train R models at a time, on one thread.

    Args:
        recipe: How; one that is ``stackable``.
        members: R training sets of one size.
        holdout: Handed on.
        seeds: R, as in ``fit``.
        on_epoch: Called with epochs done and in total.

    Raises:
        DivergedError: If any model's loss or weights stop being finite; which one is not said.
        OutOfMemoryError: If memory runs out.
    """
    start, cpu = time.perf_counter(), torch.device("cpu")
    if len(members) == 1:  # a single group is another computation than one of several: a twin keeps the bits
        return fit_stack(recipe, [*members, *members], holdout, [*seeds, *seeds], on_epoch)[:1]
    defense = recipe.defense.trained_as()
    recipe = defense.adapt(recipe)
    with threads(1), training_memory(recipe, members[0], cpu):
        models = [
            recipe.model.build(own, torch_generator(seed, "weights")) for own, seed in zip(members, seeds, strict=True)
        ]
        whole = stack(models)
        if members[0].x.ndim == 4:
            whole = laid_out(whole)
        loaders = [Loader(own, recipe.batch_size, recipe.augment, cpu) for own in members]
        trail = run_epochs(
            recipe,
            _EachMean(len(models)),
            whole,
            _Logits(whole),
            sgd(recipe, whole.parameters()),
            _Loaders(loaders, [torch_generator(seed, "order") for seed in seeds]),
            torch_generator(0),  # no hook that would draw from it
            on_epoch,
        )
        seconds = (time.perf_counter() - start) / len(models)
        return [
            Trained(model, own_trail, own, holdout, seconds, recipe)
            for model, own_trail, own in zip(*_taken_apart(whole, trail, models), members, strict=True)
        ]


class _Logits(nn.Module):
    """(R, B, C) as (R * B, C), as losses take it."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.whole(x)
        return logits.flatten(0, 1)


@dataclass(frozen=True)
class _EachMean(Defense):
    """Plain training of R models: the sum of their mean losses, so that each gets the gradient of its own mean."""

    n_models: int

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        return super().loss(logits, batch, epoch).view(self.n_models, -1).mean(1).sum()


@dataclass(frozen=True)
class _Loaders:
    """R loaders side by side, each with the order of its own model."""

    loaders: Sequence[Loader]
    orders: Sequence[torch.Generator]

    @property
    def device(self) -> torch.device:
        return self.loaders[0].device

    def __len__(self) -> int:
        return len(self.loaders[0])

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """Inputs (B, R * channels, H, W) or (R, B, D); labels and indices (R * B,)."""
        epochs = [loader.epoch(order) for loader, order in zip(self.loaders, self.orders, strict=True)]
        for batches in zip(*epochs, strict=True):
            x = [batch.x for batch in batches]
            y, index = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("y", "index"))
            yield Batch(torch.cat(x, dim=1) if x[0].ndim == 4 else torch.stack(x), y, index)


def _taken_apart(whole: nn.Module, trail: Trail, models: Sequence[nn.Module]) -> tuple[list[nn.Module], list[Trail]]:
    """Models and trails, each its own."""
    state, history = copy_state(whole), trail.tensors()
    trails = []
    for number, model in enumerate(models):
        like = copy_state(model)
        shapes = {name: like[name.split("/", 2)[2]] for name in history}
        trails.append(Trail.from_tensors(slice_of(history, shapes, number, len(models)), trail.n_epochs))
        load_state(model, slice_of(state, like, number, len(models)))
        model.eval()
    return list(models), trails
