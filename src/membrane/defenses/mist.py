"""MIST: copies of the network learn disjoint parts of the members, and each is drawn to what the others say of its own.

Source: Li, Li, Ribeiro 2024, "MIST: Defending Against Membership Inference Attacks Through Membership-Invariant
Subspace Training", USENIX Security 2024, arXiv:2311.00919. Every epoch: the members are dealt into ``parts``; each part
trains a copy of the network by cross-entropy; then each copy makes ``passes`` over its part on the cross-difference
loss, ``weight`` / (parts - 1) times the summed L1 distances of its softmax from those of the other copies, which stand
still; the mean of the copies' weights begins the next epoch. The paper's number of parts, steps and weights were not
at hand: a copy's first phase is one pass over its part, the others stand where their first phase left them, momentum
begins anew with each copy, and the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader, as_inputs, batches_of
from membrane.defenses.ranges import check
from membrane.models import logits_of
from membrane.regions import average, copy_state, load_state
from membrane.regions.edit import State
from membrane.training.defense import Defense, Start
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class MIST(Defense):
    """Average copies that learnt disjoint parts, drawn together on their own parts.

    Args:
        parts: Copies, 2 or more.
        weight: Of the cross-difference loss, 0 or more; 0 only averages.
        passes: Over the part in the second phase, 1 or more.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "mist"
    source: ClassVar[str] = "Li, Li, Ribeiro 2024, arXiv:2311.00919"
    strength: ClassVar[str | None] = "weight"
    does_not_stop: ClassVar[str] = "not tested by its source on worst cases; audit with references before relying on it"
    notes: ClassVar[str] = "the paper's numbers of parts and steps were not at hand; copies only average at 0"
    reading: ClassVar[bool] = True

    parts: int = 2
    weight: float = 1.0
    passes: int = 1

    def __post_init__(self) -> None:
        check(
            self,
            parts=(self.parts >= 2, "2 or more"),
            weight=(0 <= self.weight < inf, "0 or more"),
            passes=(self.passes >= 1, "1 or more"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether every copy has a batch to learn from, and whole precision."""
        found = []
        if n_members < 2 * self.parts:
            found.append(f"{self.name}: {n_members} members are too few for {self.parts} parts.")
        if recipe.lora:
            found.append(f"{self.name} averages whole weights; set lora = 0.")
        return found

    def prepared(self, start: Start) -> Defense:
        return _Copies(self, start)


def cross_difference(p: Tensor, others: Tensor) -> Tensor:
    """(B,) mean over the other copies of the L1 distance of their answers (K - 1, B, C) from p (B, C)."""
    return (p - others).abs().sum(2).mean(0)


@dataclass(frozen=True)
class PartBatch(Batch):
    """A batch out of one part.

    Args:
        part: Its number.
    """

    part: int


@dataclass(frozen=True)
class PartLoader(Loader):
    """Members dealt into parts, anew each epoch; one part's batches after the other's.

    Args:
        parts: How many.
    """

    parts: int = 2

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """All batches of part 0, then of part 1 ..."""
        x, y = self._inputs(), self.examples.y.to(self.device)
        for part, order in enumerate(self._dealt(torch.randperm(len(y), generator=generator))):
            for index in batches_of(order, self.batch_size):
                batch = self._batch(x, y, index, generator)
                yield PartBatch(batch.x, batch.y, batch.index, part)

    def __len__(self) -> int:
        return sum(len(batches_of(order, self.batch_size)) for order in self._dealt(torch.arange(len(self.examples))))

    def _dealt(self, order: Tensor) -> list[Tensor]:
        return [order[part :: self.parts] for part in range(self.parts)]


class _Copies(Defense):
    """One training whose model plays every copy in turn."""

    def __init__(self, settings: MIST, start: Start) -> None:
        self.settings, self.members, self.device = settings, start.members, start.device
        self.batch_size, self.model = start.recipe.batch_size, start.model
        self._begin()

    def _begin(self) -> None:
        self.shared: State = copy_state(self.model)  # what every copy of the epoch begins with
        self.learnt: list[State] = []
        self.index: list[list[Tensor]] = []

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        self.optimizer = optimizer
        parts = PartLoader(
            loader.examples, loader.batch_size, loader.augment, loader.device, loader.room, self.settings.parts
        )
        return model, optimizer, parts

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        """The batch as it is; before the first one of a part, the model becomes that part's copy."""
        assert isinstance(batch, PartBatch)
        if batch.part == len(self.index):
            if self.index:
                self.learnt.append(copy_state(self.model))
            self._become(self.shared)
            self.index.append([])
        self.index[-1].append(batch.index)
        return batch

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        self.learnt.append(copy_state(self.model))
        if self.settings.weight > 0:
            self._become(self.shared)
            answers = torch.stack([self._answers(state) for state in self.learnt])  # (K, N, C)
            self.learnt = [self._drawn(i, answers) for i in range(self.settings.parts)]
        load_state(self.model, average(self.learnt))
        self.optimizer.state.clear()
        self._begin()

    def _become(self, state: State) -> None:
        load_state(self.model, state)
        self.optimizer.state.clear()

    def _answers(self, state: State) -> Tensor:
        load_state(self.model, state)
        return torch.softmax(logits_of(self.model, self.members), 1)

    def _drawn(self, i: int, answers: Tensor) -> State:
        """Copy ``i`` after its second phase."""
        self._become(self.learnt[i])
        self.model.train()
        others = torch.cat([answers[:i], answers[i + 1 :]])
        for _ in range(self.settings.passes):
            for index in self.index[i]:
                logits = self.model(_inputs(self.members, index).to(self.device)).float()
                apart = cross_difference(torch.softmax(logits, 1), others[:, index].to(self.device))
                self.step(self.model, self.optimizer, self.settings.weight * apart.mean())
        return copy_state(self.model)


def _inputs(members: Examples, index: Tensor) -> Tensor:
    return as_inputs(members[index].x[:])
