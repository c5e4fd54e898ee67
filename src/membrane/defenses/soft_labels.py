"""Probabilities in the place of labels, each example's from models that did not see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples
from membrane.data.loader import Batch
from membrane.models import at_work, logits_of
from membrane.regions.edit import State
from membrane.training.defense import Defense
from membrane.training.loop import fit
from membrane.training.parts import Parts
from membrane.training.recipe import Recipe


class SoftLabels(Defense):
    """Plain training on given probabilities (N, C), by position in the training set."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        return self.table[batch.index].to(batch.x.device)


def out_of_fold(
    recipe: Recipe, members: Examples, folds: int, generator: torch.Generator, begin: State, left_out: int = 1
) -> Tensor:
    """(N, C) mean probabilities of those of ``folds`` models that did not see each example.

    Args:
        recipe: As in ``out_of_sample``.
        members: N examples.
        folds: Parts that they are dealt into, and models.
        generator: Deals, and draws the seeds of the trainings.
        begin: Weights that all begin from.
        left_out: Models that leave out each part.
    """
    unseen = dealt(len(members), folds, left_out, generator)
    seeds = [spawn_seed(generator) for _ in range(folds)]
    return out_of_sample(recipe, members, unseen, seeds, begin=begin)


def sharpened(table: Tensor, temperature: float) -> Tensor:
    """Probabilities (N, C) to the power of 1 / temperature, normalized; 1 leaves them as they are."""
    return table if temperature == 1 else torch.softmax(table.log() / temperature, 1)


def dealt(n: int, folds: int, left_out: int, generator: torch.Generator) -> Tensor:
    """(N, K) bool, which of n examples each of K = ``folds`` models does not see: ``left_out`` models for each."""
    fold = torch.randperm(n, generator=generator) % folds
    return (torch.arange(folds) - fold[:, None]) % folds < left_out


def out_of_sample(
    recipe: Recipe,
    members: Examples,
    unseen: Tensor,
    seeds: Sequence[int],
    device: torch.device | None = None,
    begin: State | None = None,
    parts: Parts | None = None,
) -> Tensor:
    """(N, C) mean probabilities of the models that did not see each example; zeros where all did.

    Args:
        recipe: How each model is trained, without a defense and with no history kept.
        members: N examples.
        unseen: (N, K) bool, which of them each model does not see.
        seeds: Of the K trainings.
        device: Where to train, as in ``fit``.
        begin: Weights that all begin from, instead of fresh ones.
        parts: Where what each model says goes, so that it is not trained twice.
    """
    recipe = replace(recipe, defense=Defense(), keep=2)
    table = torch.zeros(len(members), len(members.classes))
    asked = [k for k in range(len(seeds)) if unseen[:, k].any()]

    def answers(i: int) -> Tensor:
        seen, rest = (torch.nonzero(part)[:, 0] for part in (~unseen[:, asked[i]], unseen[:, asked[i]]))
        model = fit(recipe, members[seen], None, seeds[asked[i]], device, begin=begin).model
        with at_work(model):
            return torch.softmax(logits_of(model, members[rest]), 1)

    found = (parts or Parts()).each([f"answers of sub-model {k}" for k in asked], answers)
    for k, answered in zip(asked, found, strict=True):
        rest = torch.nonzero(unseen[:, k])[:, 0]
        table[rest] += answered / unseen[rest].sum(1, keepdim=True)
    return table
