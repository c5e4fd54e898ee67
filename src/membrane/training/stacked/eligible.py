"""Which trainings are stacked: those that can be, and that get faster by it."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn

from membrane.training.recipe import Recipe
from membrane.training.stacked.net import stacks

STACK = 16  # models in a stack, at most
# Multiplications that one forward pass of one batch may take: beyond, arithmetic is what costs, and a stack only falls
# out of the processor's caches. Measured by benchmarks/fleet.py on two cores.
MOST_WORK = 4e7
# Multiplications of all forward passes of a stack's training: what is killed in it is lost, so it ends within minutes,
# 2 to 5 on one core where this was written. Two models are the smallest stack, as one is trained as two.
MOST_AT_STAKE = 1e12
_HOOKS = ("prepared", "wrap", "batch", "targets", "loss", "step", "end_epoch")


@functools.cache
def stackable(recipe: Recipe, shape: tuple[int, ...], n_classes: int) -> bool:
    """Whether models of this recipe are trained in stacks; known from settings and shapes alone.

    Plain training, of networks that are small and made of layers that stack. A defense that changes batches, losses or
    updates, fine-tuning, bfloat16 and compilation train one model at a time.

    Args:
        recipe: How.
        shape: Of one input.
        n_classes: Of the labels.
    """
    defense = recipe.defense.trained_as()
    if defense.overrides(*_HOOKS):
        return False
    recipe = defense.adapt(recipe)
    special = (recipe.start, recipe.trainable, recipe.lora or None, recipe.compile or None)
    if any(one is not None for one in special) or recipe.precision != "float32":
        return False
    with torch.device("meta"):
        try:
            net = recipe.model.network(shape, n_classes)
        except Exception:  # a misfit is told elsewhere, in words
            return False
        return stacks(net) and recipe.batch_size * multiplications(net, shape) <= MOST_WORK


@functools.cache
def largest_stack(recipe: Recipe, shape: tuple[int, ...], n_classes: int, n_members: int) -> int:
    """Models that a stack may hold so that a kill costs minutes; of those whose models are ``stackable``.

    Args:
        recipe: How they are trained.
        shape: Of one input.
        n_classes: Of the labels.
        n_members: Of each model.
    """
    recipe = recipe.defense.trained_as().adapt(recipe)
    with torch.device("meta"):
        each = multiplications(recipe.model.network(shape, n_classes), shape) * n_members * recipe.n_epochs
    return min(STACK, max(2, int(MOST_AT_STAKE / each)))


def multiplications(net: nn.Module, shape: tuple[int, ...]) -> float:
    """Of one example's forward pass."""
    total = 0.0

    def count(layer: nn.Module, _: object, y: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.Linear):
            total += layer.weight.numel() * math.prod(y.shape[2:])

    for layer in net.modules():
        layer.register_forward_hook(count)
    net.eval()(torch.empty(1, *shape, device="meta"))
    return total
