"""CWRF: the weights that tell members from others go back to their first values and stay; the rest is trained again.

Source: Fang and Kim 2026, "Learnability and Privacy Vulnerability are Entangled in a Few Critical Weights", ICLR 2026,
arXiv:2603.13186 (critical weights rewinding and fine-tuning). A reading, put together from its abstract, reviews and
notes by others. A plain training is probed: steps of gradient descent on

    (1 - ``mix``) CE on members + ``mix`` KL(answers to the holdout || answers of the first weights to it),

while |gradient times weight| of each weight is summed. The share of weights with the largest sums takes its first
values again and is frozen; all others go on from where the plain training ended, the learning rate back at its start,
under any training-time defense (``inner``). Ours, where nothing was at hand: ``mix``, number and rate of the steps,
which are plain, in evaluation mode and on batches drawn with replacement; sums are ranked over the whole network; the
second training is as long as the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import SettingError, TrainingError
from membrane.core.generators import derive_seed, torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader, as_inputs
from membrane.defenses.ranges import check, holdout_of
from membrane.regions import copy_state, load_state
from membrane.training.defense import Defense, Start
from membrane.training.loop import fit
from membrane.training.recipe import Recipe

_FEWEST = 10  # of the holdout
_ACTS_ELSEWHERE = ("adapt", "wrap", "trained_as", "finish", "release")


@dataclass(frozen=True)
class CWRF(Defense):
    """Train twice; the second time, the weights that matter most to membership stand at their first values.

    Args:
        share: Of the weights that are rewound and frozen, from 0 to below 1; 0 only trains on.
        mix: Weight of staying near the first weights' answers to the holdout, from 0 to 1.
        steps: Of the probing, 1 or more.
        probe_lr: Its learning rate, above 0.
        inner: Training-time defense of the second training.

    Raises:
        SettingError: If a setting lies outside its range, or ``inner`` is more than a loss or a change of batches; in
            training, if there is no holdout.
        TrainingError: In training, if the probing diverges.
    """

    name: ClassVar[str] = "cwrf"
    source: ClassVar[str] = "Fang and Kim 2026, arXiv:2603.13186"
    strength: ClassVar[str | None] = "share"
    extra_data: ClassVar[str] = "holdout: non-members, which decide the weights that are rewound"
    trains_on_holdout: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = "what the weights that are not rewound remember; audit with references"
    notes: ClassVar[str] = "single weights, anywhere; rewind_refit does it by region, without probing"
    reading: ClassVar[bool] = True

    share: float = 0.03
    mix: float = 0.5
    steps: int = 100
    probe_lr: float = 0.01
    inner: Defense = field(default_factory=Defense)

    def __post_init__(self) -> None:
        check(
            self,
            share=(0 <= self.share < 1, "a share from 0 to below 1"),
            mix=(0 <= self.mix <= 1, "a share from 0 to 1"),
            steps=(self.steps >= 1, "1 or more"),
            probe_lr=(0 < self.probe_lr < inf, "above 0"),
        )
        if more := self.inner.overrides(*_ACTS_ELSEWHERE):
            raise SettingError(
                f"{self.name} cannot train with {self.inner.name!r}, which has its own {more[0]}. Take a defense that "
                "is a loss, such as relaxloss or ccl."
            )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether there are non-members to probe on, whole weights to rewind, and those of the inner defense."""
        found = self.inner.mistakes(recipe, n_members, n_holdout)
        if n_holdout < _FEWEST:
            found.append(f"{self.name} probes on a holdout of {_FEWEST} or more; there are {n_holdout}. Set holdout.")
        if recipe.lora:
            found.append(f"{self.name} rewinds whole weights; set lora = 0.")
        return found

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of the inner defense."""
        return self.inner.data_mistakes(recipe, members, holdout)

    def prepared(self, start: Start) -> Defense:
        holdout, first = holdout_of(self, start), copy_state(start.model)
        moved = [name for name, p in start.model.named_parameters() if p.requires_grad]

        def probed(_: int) -> Tensor:
            recipe = replace(start.recipe, defense=Defense(), keep=2)
            seed = derive_seed(start.seed, "first")
            model = fit(recipe, start.members, None, seed, start.device, begin=first).model.to(start.device)
            weights = copy_state(model)
            return flat([*weights.values(), *self.scores(model, start, holdout).values()])

        (kept,) = start.parts.each(["first training and its scores"], probed)
        parts = unflat(kept, [*first.values(), *(first[name] for name in moved)])
        state, scores = dict(zip(first, parts, strict=False)), dict(zip(moved, parts[len(first) :], strict=True))
        masks = largest(scores, self.share)
        state |= {name: torch.where(mask, first[name], state[name]) for name, mask in masks.items()}
        load_state(start.model, state)
        inner = self.inner.prepared(start)
        if more := inner.overrides("wrap"):
            raise SettingError(
                f"{self.name} cannot train with {self.inner.name!r} as it is set: it has its own {more[0]}."
            )
        return _Rewound(inner, start.model, masks)

    def scores(self, model: nn.Module, start: Start, holdout: Examples) -> dict[str, Tensor]:
        """Summed |gradient times weight| of each weight, on the CPU, while the model (changed here) is probed."""
        generator = torch_generator(start.seed, "probe")
        first = start.model.eval()
        named = {name: p for name, p in model.named_parameters() if start.model.get_parameter(name).requires_grad}
        sums = {name: torch.zeros_like(p) for name, p in named.items()}
        for _ in range(self.steps):
            x, y = _drawn(start.members, start, generator)
            away, _labels = _drawn(holdout, start, generator)
            with torch.no_grad():
                stay = F.log_softmax(first(away).float(), 1)
            apart = F.kl_div(stay, F.log_softmax(model(away).float(), 1), reduction="batchmean", log_target=True)
            loss = (1 - self.mix) * F.cross_entropy(model(x).float(), y) + self.mix * apart
            slopes = torch.autograd.grad(loss, list(named.values()))
            with torch.no_grad():
                for (name, p), slope in zip(named.items(), slopes, strict=True):
                    sums[name] += (slope * p).abs()
                    p.sub_(slope, alpha=self.probe_lr)
        if not all(bool(torch.isfinite(one).all()) for one in sums.values()):
            raise TrainingError(f"{self.name}: the probing diverged. Lower probe_lr (it is {self.probe_lr}).")
        return {name: one.cpu() for name, one in sums.items()}


def _drawn(side: Examples, start: Start, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of inputs and labels from one side, on the device."""
    some = side[torch.randint(len(side), (start.recipe.batch_size,), generator=generator)]
    return as_inputs(some.x[:]).to(start.device), some.y.to(start.device)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors end to end, float64, which holds what float32 and counters hold."""
    return torch.cat([one.double().flatten() for one in tensors])


def unflat(values: Tensor, shapes: Sequence[Tensor]) -> list[Tensor]:
    """What was flattened, in the shapes and types of these."""
    parts = torch.split(values, [like.numel() for like in shapes])
    return [part.view(like.shape).to(like.dtype) for part, like in zip(parts, shapes, strict=True)]


def largest(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks of the weights with the largest scores, together ``share`` of all, rounded down; ties by position."""
    every = flat(list(scores.values()))
    chosen = torch.zeros_like(every)
    chosen[every.argsort(descending=True, stable=True)[: int(share * len(every))]] = 1
    masks = unflat(chosen, list(scores.values()))
    return {name: mask > 0 for name, mask in zip(scores, masks, strict=True)}


class _Rewound(Defense):
    """The second training, in which some weights stand still."""

    def __init__(self, inner: Defense, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        self.inner = inner
        parameters = dict(model.named_parameters())
        self.still = [
            (parameters[name], mask.to(parameters[name].device), parameters[name].detach().clone())
            for name, mask in masks.items()
        ]

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        optimizer.register_step_post_hook(lambda *_: self._back())  # before the trail looks
        return model, optimizer, loader

    def _back(self) -> None:
        with torch.no_grad():
            for parameter, mask, value in self.still:
                parameter.copy_(torch.where(mask, value, parameter))

    def batch(self, batch: Batch, epoch: int, generator: torch.Generator) -> Batch:
        return self.inner.batch(batch, epoch, generator)

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        return self.inner.targets(batch, n_classes, epoch)

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        return self.inner.loss(logits, batch, epoch)

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.inner.step(model, optimizer, loss)

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        self.inner.end_epoch(model, epoch)
