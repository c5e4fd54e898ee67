"""The one training loop. Defenses change it through their hooks; nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from membrane.core.errors import SettingError, TrainingError
from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Loader
from membrane.regions.trail import Trail
from membrane.training.defense import Trained
from membrane.training.recipe import Recipe


def fit(
    recipe: Recipe,
    members: Examples,
    holdout: Examples | None,
    seed: int,
    device: torch.device | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train one model from scratch.

    Args:
        recipe: How.
        members: Training set.
        holdout: Handed on to the defense; not trained on. None if nothing was set aside.
        seed: Decides initial weights, order and augmentation; same seed and machine, same bits.
        device: Where to train; the CPU if not given.
        on_epoch: Called with epochs done and in total.

    Raises:
        TrainingError: If the loss stops being finite, naming the epoch.
    """
    start = time.perf_counter()
    # Only what the training key covers may shape the training: a defense that acts later has no say.
    defense = recipe.defense.trained_as()
    recipe = defense.adapt(recipe)
    if recipe.augment and members.x.ndim != 4:
        raise SettingError("augment flips and crops images; these inputs are features. Set augment = false.")
    device = device or torch.device("cpu")
    model = recipe.model.build(members, torch_generator(seed, "weights")).to(device)
    if members.x.ndim == 4:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer: torch.optim.Optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
    )
    loader = Loader(members, recipe.batch_size, recipe.augment, device)
    trained, optimizer, loader = defense.wrap(model, optimizer, loader)
    forward = torch.compile(trained, dynamic=False) if recipe.compile else trained
    trail = Trail(model, recipe.keep, optimizer=optimizer)
    order = torch_generator(seed, "order")
    for epoch in range(recipe.epochs):
        trained.train()
        total = torch.zeros((), device=device)
        for i, batch in enumerate(loader.epoch(order)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(epoch * len(loader) + i, len(loader))
            batch = defense.batch(batch, epoch, order)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                logits = forward(batch.x)
            loss = defense.loss(logits.float(), batch, epoch).mean()
            defense.step(trained, optimizer, loss)
            total += loss.detach()
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss stopped being finite in epoch {epoch} of {recipe.epochs}. "
                f"Lower lr (it is {recipe.lr}) or the defense's strength."
            )
        defense.end_epoch(trained, epoch)
        trail.snapshot()
        on_epoch(epoch + 1, recipe.epochs)
    final = model.cpu().eval()
    return Trained(_plain(final), trail, members, holdout, time.perf_counter() - start, recipe.augmentation)


def _plain(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]
