"""The one training loop. Defenses change it through their hooks; nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import nn

from membrane.core.device import refuse_absent, working_device, working_on
from membrane.core.errors import SettingError, raise_all
from membrane.core.generators import derive_seed, layer_stream, torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader, as_inputs
from membrane.models import laid_out, start_from
from membrane.regions.edit import State, load_state
from membrane.regions.trail import Trail
from membrane.training.defense import Defense, Start, Trained
from membrane.training.divergence import Watch
from membrane.training.memory import training_memory
from membrane.training.part import TrainedPart
from membrane.training.parts import Keep, Parts, made_anew
from membrane.training.recipe import Recipe


def fit(
    recipe: Recipe,
    members: Examples,
    holdout: Examples | None,
    seed: int,
    device: torch.device | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
    begin: State | None = None,
    keep: Keep = made_anew,
) -> Trained:
    """Train one model, from scratch or from given weights.

    Args:
        recipe: How.
        members: Training set.
        holdout: Handed on to the defense; not trained on. None if nothing was set aside.
        seed: Decides initial weights, order and augmentation; same seed and machine, same bits.
        device: Where to train; if not given, where the engine around this call trains, and the CPU outside of any.
        on_epoch: Called with epochs done and in total; each model that the defense trains first counts as much as this.
        begin: Weights and buffers to begin from, instead of fresh ones.
        keep: Finds or makes what the defense needs of other models, see ``Parts``.

    Raises:
        SettingError: If the device is not here; listing what would stop the defense, its part after training included.
        DivergedError: If loss or weights stop being finite, naming epoch and cause, the last good weights with it.
        OutOfMemoryError: If memory runs out, naming the batch size that would fit.
    """
    device = device or working_device()
    refuse_absent(device)
    _refuse_mistakes(recipe, members, holdout)
    layers = derive_seed(seed, "layers")
    with working_on(device), training_memory(recipe, members, device), layer_stream(layers, device):
        return _fit(recipe, members, holdout, seed, device, _Work(on_epoch, keep), begin)


class _Work:
    """Counts what is done of one training, models that its defense trains first included."""

    def __init__(self, on_epoch: Callable[[int, int], None], keep: Keep) -> None:
        self._on_epoch, self._keep = on_epoch, keep
        self._n_parts = 0

    def parts(self, epochs: int) -> Parts:
        def told(done: int, total: int) -> None:
            self._n_parts = total
            self._on_epoch(done * epochs, (total + 1) * epochs)

        return Parts(self._keep, told)

    def epoch(self, done: int, epochs: int) -> None:
        self._on_epoch(self._n_parts * epochs + done, (self._n_parts + 1) * epochs)


def _refuse_mistakes(recipe: Recipe, members: Examples, holdout: Examples | None) -> None:
    defense = recipe.defense
    raise_all(defense.mistakes(recipe, len(members), len(holdout) if holdout else 0))
    raise_all(defense.data_mistakes(recipe, members, holdout))


def _fit(
    recipe: Recipe,
    members: Examples,
    holdout: Examples | None,
    seed: int,
    device: torch.device,
    work: _Work,
    begin: State | None,
) -> Trained:
    start = time.perf_counter()
    # Only what the training key covers may shape the training: a defense that acts later has no say.
    defense = recipe.defense.trained_as()
    recipe = defense.adapt(recipe)
    if recipe.augment and members.x.ndim != 4:
        raise SettingError("augment flips and crops images; these inputs are features. Set augment = false.")
    model = recipe.model.build(members, torch_generator(seed, "weights"))
    if recipe.start is not None:
        start_from(model, recipe.start, len(members.classes))
    if begin is not None:
        load_state(model, begin)
    model = model.to(device)
    if members.x.ndim == 4:
        model = laid_out(model)
    part = TrainedPart(model, recipe.trainable, recipe.lora, as_inputs(members.x[:2]), torch_generator(seed, "lora"))
    optimizer = sgd(recipe, part.parameters)
    part.follow(optimizer)
    loader = Loader(members, recipe.batch_size, recipe.augment, device)
    defense = defense.prepared(Start(model, members, holdout, recipe, seed, device, work.parts(recipe.n_epochs)))
    trained, optimizer, loader = defense.wrap(model, optimizer, loader)
    order = torch_generator(seed, "order")
    trail = run_epochs(recipe, defense, model, trained, optimizer, loader, order, work.epoch)
    part.release()
    final = model.cpu().eval()
    return Trained(_plain(final), trail, members, holdout, time.perf_counter() - start, recipe)


def sgd(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of a recipe."""
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=nesterov)


class Batches(Protocol):
    """Gives out training data, epoch after epoch."""

    @property
    def device(self) -> torch.device:
        """Where batches live."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order."""


def run_epochs(
    recipe: Recipe,
    defense: Defense,
    model: nn.Module,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Batches,
    order: torch.Generator,
    told: Callable[[int, int], None],
) -> Trail:
    """The loop itself, over all epochs; the history of the model.

    Args:
        recipe: As trained.
        defense: Whose hooks are called.
        model: Whose weights the trail follows.
        trained: What is called with batches: the model, or what a defense wrapped it in.
        optimizer: Of its parameters.
        loader: Batches.
        order: Draws their order, and whatever hooks draw.
        told: Called with epochs done and in total.
    """
    forward = torch.compile(trained, dynamic=False) if recipe.compile else trained
    trail = Trail(model, recipe.keep, optimizer=optimizer)
    watch = Watch(recipe, model, trail)
    for epoch in range(recipe.n_epochs):
        trained.train()
        total = torch.zeros((), device=loader.device)
        for i, batch in enumerate(loader.epoch(order)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(epoch * len(loader) + i, len(loader))
            batch = defense.batch(batch, epoch, order)
            with torch.autocast(loader.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                logits = forward(batch.x)
            loss = defense.loss(logits.float(), batch, epoch).mean()
            watch.loss(loss, batch.x, epoch, i, len(loader))
            defense.step(trained, optimizer, loss)
            total += loss.detach()
        with watch.ending(total, epoch, len(loader)):
            defense.end_epoch(trained, epoch)
            trail.snapshot()
        told(epoch + 1, recipe.n_epochs)
    return trail


def _plain(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]
