"""Networks that are fitted to a model's answers on the population: students and regressors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from membrane.core.errors import DataError
from membrane.core.generators import layer_stream, spawn_seed
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader
from membrane.models import MLP, Model, Normalization, ResNet
from membrane.models.signals import device_of

FEWEST = 100  # of the population
_LR, _WEIGHT_DECAY, _BATCH = 1e-3, 1e-4, 64


def fitting(
    network: nn.Module,
    examples: Examples,
    loss: Callable[[Tensor, Batch], Tensor],
    epochs: int,
    generator: torch.Generator,
) -> Iterator[int]:
    """Train a network in place by AdamW, and pause after every epoch to say how many are done.

    Args:
        network: Takes inputs (B, ...).
        examples: What it is trained on.
        loss: Mean loss of its outputs on a batch.
        epochs: Passes over the examples.
        generator: Of order and dropout.
    """
    optimizer = torch.optim.AdamW(network.parameters(), _LR, weight_decay=_WEIGHT_DECAY)
    loader = Loader(examples, _BATCH, device=device_of(network))
    for epoch in range(epochs):
        network.train()
        with layer_stream(spawn_seed(generator), device_of(network)):
            for batch in loader.epoch(generator):
                optimizer.zero_grad()
                loss(network(batch.x), batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        yield epoch + 1


def small_network(examples: Examples, n_outputs: int, generator: torch.Generator) -> nn.Module:
    """A fresh small network for such inputs with any number of outputs: a ResNet for images, else an MLP."""
    settings: Model = ResNet() if examples.x.ndim == 4 else MLP()
    network = settings.fresh(tuple(examples.x.shape[1:]), n_outputs, generator)
    fit_normalization(network, examples)
    return network


def fit_normalization(network: nn.Module, examples: Examples) -> None:
    """Let the network bring inputs to the mean and standard deviation of these examples."""
    for module in network.modules():
        if isinstance(module, Normalization):
            module.fit(examples.x)


def population_mistakes(population: Examples | None) -> list[str]:
    """Whether there are strangers enough to be fitted on."""
    n = 0 if population is None else len(population)
    if n >= FEWEST:
        return []
    return [f"it is fitted on a population of {FEWEST} or more; there are {n}. Pass examples that nobody trained on."]


def population_of(population: Examples | None) -> Examples:
    """The population, large enough.

    Raises:
        DataError: If there is none, or too few.
    """
    mistakes = population_mistakes(population)
    if mistakes or population is None:
        raise DataError(" ".join(mistakes))
    return population
