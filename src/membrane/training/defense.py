"""What a defense may change: hooks of the one training loop, and what happens to the model after it.

Plain training is the base class, so the undefended baseline walks the same path as everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.data.examples import Examples
from membrane.data.loader import Augment, Batch, Loader, as_inputs
from membrane.regions.edit import State
from membrane.regions.edited import edited
from membrane.regions.partition import Partition, partition
from membrane.regions.trail import Trail
from membrane.training.costs import cost_of
from membrane.training.parts import Parts

if TYPE_CHECKING:
    from membrane.training.recipe import Recipe

Stage = Literal["training", "release", "both"]  # release: whatever is done to a trained model


@dataclass(frozen=True)
class Start:
    """What one training begins with, for defenses that need more of it than batches.

    Args:
        model: On its device, with its first weights.
        members: The training set.
        holdout: Non-members set aside; None if there are none.
        recipe: As trained, what the defense makes of it included.
        seed: Of this training; name your own streams under it.
        device: Where training happens.
        parts: Where the answers of other models go that the defense trains for this one.
    """

    model: nn.Module
    members: Examples
    holdout: Examples | None
    recipe: Recipe
    seed: int
    device: torch.device
    parts: Parts = field(default_factory=Parts)


@dataclass(frozen=True)
class Trained:
    """A finished training, before anything is done to the model for its release.

    Args:
        model: Final weights, evaluation mode, on the CPU.
        trail: Its history.
        members: The training set, labels as trained.
        holdout: Non-members set aside for choosing; in no audit. None if there are none.
        seconds: Wall-clock seconds that training took.
        recipe: As trained, what the training-time defense makes of it included.
    """

    model: nn.Module
    trail: Trail
    members: Examples
    holdout: Examples | None
    seconds: float
    recipe: Recipe

    @property
    def augment(self) -> Augment | None:
        """What training did to its inputs; normalization statistics are recomputed on the like."""
        return self.recipe.augmentation

    @cached_property
    def regions(self) -> Partition:
        """Of the model, found once for all edits of it."""
        return partition(self.model, as_inputs(self.members.x[:2]))

    def edited(self, state: State) -> nn.Module:
        """Copy of the model with other weights and statistics recomputed on members as trained."""
        return edited(self.model, state, self.members.x, self.augment)


@dataclass(frozen=True)
class Finished:
    """What a defense hands out.

    Args:
        model: The model to release.
        facts: JSON-ready facts about how it came to be (a plan, what was measured), for the report.
    """

    model: nn.Module
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Defense:
    """Plain training: no defense."""

    name: ClassVar[str] = "undefended"
    source: ClassVar[str] = "empirical risk minimization; the baseline"
    strength: ClassVar[str | None] = None  # the setting that makes it stronger, if it has one
    # Facts that every defense states about itself; `membrane list defenses` shows them.
    acts_on: ClassVar[Stage] = "training"
    extra_data: ClassVar[str] = "none"  # besides the members
    trains_on_holdout: ClassVar[bool] = False  # if so, the holdout decides the weights: it is in the training key
    rewrites_answers: ClassVar[bool] = False  # if so, the file of weights lacks what it does; serving needs a wrapper
    does_not_stop: ClassVar[str] = "anything: it is the baseline"  # what is known
    notes: ClassVar[str] = ""  # which one this is, where the source has several or we differ from it
    reading: ClassVar[bool] = False  # put together from less than paper and code: its numbers are not the source's

    @classmethod
    def about(cls) -> dict[str, Any]:
        """What it says of itself and what it was measured to cost, JSON-ready; the same wherever it is shown."""
        cost = cost_of(cls.name)
        return {
            "source": cls.source,
            "reading": cls.reading,
            "acts_on": cls.acts_on,
            "extra_data": cls.extra_data,
            "cost": "" if cost is None else str(cost),
            "cost_measured_on": "" if cost is None else cost.measured_on,
            "does_not_stop": cls.does_not_stop,
            "notes": cls.notes,
        }

    def overrides(self, *hooks: str) -> list[str]:
        """Which of the named methods are its own, not those of plain training."""
        return [hook for hook in hooks if getattr(type(self), hook) is not getattr(Defense, hook)]

    def adapt(self, recipe: Recipe) -> Recipe:
        """Recipe to train with, such as one with fewer epochs."""
        return recipe

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """What about settings and sizes would stop this defense, one sentence each, known before training."""
        return []

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """What about the data, or the network for them, would stop this defense; known before training, too."""
        return []

    def prepared(self, start: Start) -> Defense:
        """The defense for this one training: itself, or one that holds what lives as long as it does.

        That may be another network, the holdout, or soft labels that other models gave the members; these
        are trained here, with ``fit``, through ``start.parts``. Called before ``wrap``; from there to
        ``end_epoch`` the returned one's hooks are used.
        """
        return self

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        """Replace model, optimizer or loader before training starts."""
        return model, optimizer, loader

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        """Change a batch before the forward pass."""
        return batch

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        """What the loss compares with: (B,) class indices or (B, C) probabilities."""
        return batch.y

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """Loss of each example (B,), nats, or one number for the batch; epochs count from 0."""
        return F.cross_entropy(logits, self.targets(batch, logits.shape[1], epoch), reduction="none")

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One update from the mean loss of a batch."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        """Called after each epoch, before the trail's snapshot."""

    def trained_as(self) -> Defense:
        """The defense whose training this one starts from.

        Defenses that only act afterwards (``finish``, ``release``) return the undefended one, or the one
        they are stacked on, so that they all share one training.
        """
        return self

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """Turn the trained model into the one to release; must not change ``trained.model``."""
        return Finished(trained.model)

    def as_chosen(self, facts: Mapping[str, Any]) -> Defense:
        """What ``finish`` chose for one model, as a defense that does the same to any; itself if nothing is chosen.

        Args:
            facts: That ``finish`` gave.
        """
        return self

    def release(self, model: nn.Module) -> nn.Module:
        """Wrap the model in what users see, such as rounded or reordered outputs."""
        return model
