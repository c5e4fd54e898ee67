"""HopSkipJump: how far from its input a model's label changes, from labels alone, of many examples at once.

Source: Chen, Jordan and Wainwright 2020, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
arXiv:1904.02144, Euclidean, untargeted, with the settings of the authors' code: 100 sqrt(t) directions in step t, the
first from a tenth of the box away, later from distance / d; steps of distance / sqrt(t), halved until the label
changes; the boundary found by halving down to d^(-3/2) of the way. Where we differ: all examples try the same random
directions, so that none depends on the others; pictures start from evenly drawn noise as theirs, features, which have
no box, from noise that grows until the label changes, and with directions from a tenth of the distance away; the
nearest point met is kept; everything ends with the budget of queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from membrane.core.generators import torch_generator

Decide = Callable[[Tensor, Tensor], Tensor]  # inputs (M, D) and whose neighbours they are (M,), to changed or not (M,)
FEWEST = 100  # queries with which a first step can be made
_DIRECTIONS = 100
_FEWEST_DIRECTIONS = 10
_TRIES = 20  # starting points
_HALVINGS = 12  # of a step
_FIRST_DELTA = 0.1
_AT_ONCE = 50  # directions


@dataclass
class _Search:
    """State of the search from N inputs (N, D).

    ``left`` counts down what may still be asked of each. Tries and halvings are counted as if all were needed: how far
    one example's search goes must not depend on others' luck.
    """

    x: Tensor
    decide: Decide
    box: tuple[float, float] | None
    seed: int
    left: int
    point: Tensor = field(init=False)  # (N, D), on the other side
    distance: Tensor = field(init=False)  # (N,)

    @property
    def d(self) -> int:
        return self.x.shape[1]

    @property
    def rounds(self) -> int:
        """Halvings down to d^(-3/2) of the way."""
        return math.ceil(1.5 * math.log2(self.d)) + 1

    def inside(self, points: Tensor) -> Tensor:
        """The points, moved into the box of what inputs can be."""
        return points if self.box is None else points.clamp(*self.box)

    def start(self) -> Tensor:
        """Find a point of another label for each example; (N,) whether there is one."""
        self.left -= _TRIES
        self.point = self.x.clone()
        missing = torch.arange(len(self.x))
        scale = self.x.abs().amax(1, keepdim=True).clamp_min(1.0) / 16
        for k in range(_TRIES):
            if not len(missing):
                break
            generator = torch_generator(self.seed, "start", k)
            if self.box is None:
                points = self.x[missing] + 2.0**k * scale[missing] * torch.randn(self.d, generator=generator)
            else:
                low, high = self.box
                points = (low + (high - low) * torch.rand(self.d, generator=generator)).expand(len(missing), -1)
            changed = self.decide(points, missing)
            self.point[missing[changed]] = points[changed]
            missing = missing[~changed]
        found = torch.ones(len(self.x), dtype=torch.bool)
        found[missing] = False
        return found

    def to_boundary(self, of: Tensor, points: Tensor) -> None:
        """Walk from ``points`` of other labels towards their inputs as far as the label stays; keep what is nearer."""
        self.left -= self.rounds
        x, low, high = self.x[of], torch.zeros(len(of), 1), torch.ones(len(of), 1)
        for _ in range(self.rounds):
            middle = (low + high) / 2
            changed = self.decide(x + middle * (points - x), of)[:, None]
            high, low = torch.where(changed, middle, high), torch.where(changed, low, middle)
        there = x + high * (points - x)
        distance = (there - x).norm(dim=1)
        nearer = distance < self.distance[of]
        self.point[of[nearer]], self.distance[of[nearer]] = there[nearer], distance[nearer]

    def gradient(self, of: Tensor, step: int, n: int) -> Tensor:
        """(M, D) unit vectors along which the label changes soonest, from n random directions about the points."""
        point = self.point[of]
        delta = self._away(of, step).clamp_min(torch.finfo(point.dtype).tiny)[:, None]
        drawn = torch.randn(n, self.d, generator=torch_generator(self.seed, "step", step))
        drawn /= drawn.norm(dim=1, keepdim=True)
        sums = [torch.zeros_like(point), torch.zeros_like(point)]
        votes = torch.zeros(len(of), 1)
        self.left -= n
        for first in range(0, n, _AT_ONCE):
            part = drawn[first : first + _AT_ONCE]
            moved = self.inside(point[:, None] + delta[:, None] * part)  # (M, P, D)
            changed = self.decide(moved.flatten(0, 1), of.repeat_interleave(len(part))).view(len(of), len(part), 1)
            vote, direction = changed.to(point) * 2 - 1, (moved - point[:, None]) / delta[:, None]
            sums[0] += (vote * direction).sum(1)
            sums[1] += direction.sum(1)
            votes += vote.sum(1)
        mean = votes / n
        one_sided = mean.abs() == 1  # all of them on one side: their middle points there
        found = torch.where(one_sided, sums[0], sums[0] - mean * sums[1])
        unit: Tensor = found / found.norm(dim=1, keepdim=True).clamp_min(torch.finfo(point.dtype).tiny)
        return unit

    def _away(self, of: Tensor, step: int) -> Tensor:
        """(M,) how far from the points the directions are tried."""
        if step > 1:
            return self.distance[of] / self.d
        if self.box is None:  # no width to take a tenth of
            return _FIRST_DELTA * self.distance[of]
        return torch.full((len(of),), _FIRST_DELTA * (self.box[1] - self.box[0]))

    def jump(self, of: Tensor, direction: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Points beyond the boundary along ``direction``, halving the step until the label changes; (M,) if it did."""
        self.left -= _HALVINGS
        length = self.distance[of][:, None] / math.sqrt(step)
        points, waiting = self.point[of].clone(), torch.arange(len(of))
        for _ in range(_HALVINGS):
            if not len(waiting):
                break
            there = self.inside(self.point[of[waiting]] + length[waiting] * direction[waiting])
            changed = self.decide(there, of[waiting])
            points[waiting[changed]] = there[changed]
            waiting = waiting[~changed]
            length = length / 2
        done = torch.ones(len(of), dtype=torch.bool)
        done[waiting] = False
        return points, done


def boundary_distances(x: Tensor, decide: Decide, budget: int, seed: int, box: tuple[float, float] | None) -> Tensor:
    """(N,) Euclidean distances from inputs to points of another label, at least the distances to the boundary.

    Where no starting point has another label, infinity.

    Args:
        x: (N, D), all of the label that they should have.
        decide: Whether inputs (M, D), each a neighbour of the example of that position (M,), have another label.
        budget: Queries for each example, ``FEWEST`` or more; no more are asked.
        seed: Of directions and starting points.
        box: Lowest and highest value of an input; None if there are none.
    """
    search = _Search(x, decide, box, seed, budget)
    search.distance = torch.full((len(x),), torch.inf)
    of = torch.nonzero(search.start())[:, 0]
    if not len(of):
        return search.distance
    search.to_boundary(of, search.point[of])
    step = 1
    while (n := min(int(_DIRECTIONS * math.sqrt(step)), search.left - _HALVINGS - search.rounds)) >= _FEWEST_DIRECTIONS:
        points, done = search.jump(of, search.gradient(of, step, n), step)
        search.to_boundary(of[done], points[done])
        step += 1
    return search.distance
