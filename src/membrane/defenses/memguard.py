"""MemGuard: noise on the answer that leaves a membership classifier of the defender's own undecided.

Source: Jia et al. 2019, "MemGuard: Defending against Black-Box Membership Inference Attacks via Adversarial Examples",
CCS 2019, arXiv:1909.10594, and the authors' code. A classifier h reads sorted probabilities (layers of 256, 128, 64;
ReLU; SGD without momentum, batches of 64) and is trained on members against the holdout, as many of each. For each
query, on sorted logits z, descent along the normalized gradient of

    |h(softmax z)| + 10 relu(max of the others - the predicted) + c ||softmax z - p||_1

in steps of 0.1, at most 299, until h crosses one half with the label unchanged; once for c = 0.1, 1, ... 100,000, the
last that succeeds is the noisy answer. It is released with probability min(epsilon / ||noise||_1, 1), or 0 where it is
no nearer to one half than the answer without noise, which is released otherwise. One draw for each query: it comes from
the query and a secret key. Where we differ: the search is the same for all examples of a batch at once; the classifier
gets equal numbers of both sides where the holdout is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import spawn_seed
from membrane.defenses.ranges import check, holdout_of
from membrane.defenses.rewriting import KeyedRewriting
from membrane.models import at_work, logits_of
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.recipe import Recipe

_FEWEST = 10  # of members, and of the holdout, to train a classifier on
_CLOSE = 1e-5  # to one half: such answers are released as they are
_STEPS, _STEP = 299, 0.1
_DISTORTION = tuple(10.0**i for i in range(-1, 6))  # weights c
_LABEL = 10.0  # weight of keeping it
_BATCH = 64


@dataclass(frozen=True)
class MemGuard(Defense):
    """Perturb answers within a budget so that a membership classifier guesses.

    Args:
        epsilon: Expected L1 distortion of the probabilities that is allowed, 0 to 2; 0 is the undefended baseline.
        epochs: Of the defender's classifier, 1 or more.
        lr: Its learning rate, above 0.

    Raises:
        SettingError: If a setting lies outside its range; after training, if there is no holdout.
    """

    name: ClassVar[str] = "memguard"
    source: ClassVar[str] = "Jia et al. 2019, arXiv:1909.10594"
    strength: ClassVar[str | None] = "epsilon"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    extra_data: ClassVar[str] = "holdout: non-members for the defender's classifier"
    does_not_stop: ClassVar[str] = (
        "attacks on labels; other attack networks than its own (62.7 % right on CIFAR-10 in Xu et al. 2022, "
        "arXiv:2206.05565); whoever has the weights"
    )
    notes: ClassVar[str] = "an answer takes hundreds of times as long; the draw comes from the query and a secret key"

    epsilon: float = 1.0
    epochs: int = 400
    lr: float = 0.001

    def __post_init__(self) -> None:
        check(
            self,
            epsilon=(0 <= self.epsilon <= 2, "a distance from 0 to 2"),
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether there is something to train the classifier on."""
        if self.epsilon == 0 or min(n_members, n_holdout) >= _FEWEST:
            return []
        return [
            f"{self.name} trains its classifier on {_FEWEST} members and {_FEWEST} holdout examples or more; there are "
            f"{n_members} and {n_holdout}. Set holdout."
        ]

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The trained model behind its guard."""
        if self.epsilon == 0:
            return Finished(trained.model)
        holdout = holdout_of(self, trained)
        n = min(len(trained.members), len(holdout))
        sides = []
        for part in (trained.members, holdout):
            chosen = part[torch.randperm(len(part), generator=generator)[:n]]
            with at_work(trained.model) as model:
                sides.append(torch.softmax(logits_of(model, chosen), 1).sort(1).values)
        h = membership_classifier(sides[0], sides[1], self.epochs, self.lr, generator)
        with torch.inference_mode():
            right = torch.cat([h(sides[0]) > 0, h(sides[1]) <= 0]).double().mean()
        guard = Guard(trained.model, h, self.epsilon, spawn_seed(generator))
        return Finished(guard, {"classifier_accuracy": float(right), "n": 2 * n})


def membership_classifier(
    members: Tensor, others: Tensor, epochs: int, lr: float, generator: torch.Generator
) -> nn.Module:
    """Network from sorted probabilities (B, C) to a logit (B, 1) that is above 0 for members.

    Args:
        members: (n, C) sorted probabilities of members.
        others: (n', C) of non-members.
        epochs: Passes over both.
        lr: Learning rate.
        generator: Draws weights and order.
    """
    widths = (members.shape[1], 256, 128, 64, 1)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    h = nn.Sequential(*layers[:-1])
    x, y = torch.cat([members, others]), torch.cat([torch.ones(len(members)), torch.zeros(len(others))])
    optimizer = torch.optim.SGD(h.parameters(), lr)
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(y), generator=generator), _BATCH):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(h(x[index])[:, 0], y[index])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return h.eval().requires_grad_(False)


class Guard(KeyedRewriting):
    """A model whose answers are perturbed until ``h`` is undecided.

    Args:
        model: Inputs (B, ...) to logits (B, C).
        h: Sorted probabilities (B, C) to membership logits (B, 1).
        epsilon: Expected L1 distortion allowed.
        key: Secret that, with the query, decides whether the noisy answer is released.
    """

    def __init__(self, model: nn.Module, h: nn.Module, epsilon: float, key: int) -> None:
        super().__init__(model, key)
        self.h = h
        self.epsilon = epsilon

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        with torch.inference_mode(mode=False):  # the search needs gradients, wherever it is asked for
            clean, order = logits.detach().clone().sort(dim=1, stable=True)
            noisy = self.noisy(clean)
            chance = self.chance(clean, noisy)
        drawn = torch.cat([torch.rand(1, generator=generator) for generator in self.generators(x)])
        released = torch.where((drawn.to(chance) < chance)[:, None], noisy, clean)
        return torch.empty_like(logits).scatter(1, order, released)

    def noisy(self, clean: Tensor) -> Tensor:
        """Sorted logits (B, C) with noise; as they were where none was found."""
        start = self._undecided(clean)
        found, going = clean.clone(), start.abs() > _CLOSE
        for c in _DISTORTION:
            z, crossed = self._search(clean, start, going, c)
            going &= crossed
            found[going] = z[going]
            if not going.any():
                break
        return found

    def chance(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """(B,) probability of releasing the noisy answer."""
        distance = (torch.softmax(noisy, 1) - torch.softmax(clean, 1)).abs().sum(1)
        helps = self._undecided(clean).abs() > self._undecided(noisy).abs()
        return torch.where(helps, (self.epsilon / distance.clamp_min(1e-30)).clamp(max=1), 0.0)

    def _undecided(self, z: Tensor) -> Tensor:
        """How far (B,) h is above one half on sorted logits."""
        value: Tensor = torch.sigmoid(self.h(torch.softmax(z, 1))[:, 0]) - 0.5
        return value

    def _search(self, clean: Tensor, start: Tensor, going: Tensor, c: float) -> tuple[Tensor, Tensor]:
        """Logits after the search, and whether h was crossed with the label unchanged."""
        z, done = clean.clone(), torch.zeros_like(going)
        p = torch.softmax(clean, 1)
        for _ in range(_STEPS):
            active = going & ~done
            if not active.any():
                break
            slope = self._slope(z[active], p[active], c)
            moved = z[active] - _STEP * slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30)
            z[active] = moved
            kept = moved[:, -1] > moved[:, :-1].amax(1)
            done[active] = kept & (self._undecided(moved) * start[active] <= 0)
        return z, done

    def _slope(self, z: Tensor, p: Tensor, c: float) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            answer = torch.softmax(z, 1)
            undecided = self.h(answer)[:, 0].abs()
            label = F.relu(z[:, :-1].amax(1) - z[:, -1])  # sorted, so the predicted class is the last
            loss = undecided + _LABEL * label + c * (answer - p).abs().sum(1)
            (slope,) = torch.autograd.grad(loss.sum(), z)
        return slope
