"""Small networks of one shape, trained side by side on trials of their own: the classifiers inside learned attacks.

G of them are one batch of matrices, so that one for each class costs little more than one. Training and answers depend
on the trials as a set, to the last bit: in which order references and examples come makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from membrane.attacks.references import Array
from membrane.core.values import Bools, Floats


@dataclass(frozen=True)
class Trials:
    """What one network learns from.

    Args:
        inputs: (M, F).
        is_member: (M,) bool.
    """

    inputs: Floats
    is_member: Bools

    def sorted(self) -> tuple[Array, Bools]:
        """Inputs and membership in an order that depends on nothing but what they are."""
        order = np.lexsort((self.is_member, *self.inputs.T[::-1]))
        return self.inputs[order].astype(np.float64), self.is_member[order]


@dataclass(frozen=True)
class Training:
    """How networks are trained: Adam on the cross-entropy of batches drawn with replacement.

    Args:
        hidden: Widths between inputs and the one output, ReLU after each.
        steps: Of Adam.
        batch_size: Trials in a batch.
        lr: Learning rate.
    """

    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    lr: float


@dataclass(frozen=True)
class Networks:
    """G trained networks.

    Args:
        mean: (G, F) of the trials' inputs, which are brought to mean 0 and standard deviation 1.
        scale: (G, F), one over their standard deviation; 0 where they never vary, since nothing is known of that.
        layers: Weights (G, n_in, n_out) and biases (G, 1, n_out).
    """

    mean: Array
    scale: Array
    layers: tuple[tuple[Tensor, Tensor], ...]

    def answer(self, group: int, inputs: Floats) -> Array:
        """(N,) log-odds of membership that network ``group`` gives to inputs (N, F)."""
        # A product of matrices may round a row otherwise at another place; equal rows are asked once, in one order.
        rows, back = np.unique(inputs.astype(np.float64), axis=0, return_inverse=True)
        x = torch.from_numpy((rows - self.mean[group]) * self.scale[group])
        with torch.no_grad():
            answers = _forward(x[None], [(w[group, None], b[group, None]) for w, b in self.layers])
        logit: Array = answers[0].numpy()[back.reshape(-1)]
        return logit


def trained(groups: Sequence[Trials], training: Training, generator: torch.Generator) -> Networks:
    """One network for each of G groups of trials."""
    known = [one.sorted() for one in groups]
    mean = np.array([inputs.mean(axis=0) for inputs, _ in known])
    scale = np.array([_inverse(inputs.std(axis=0)) for inputs, _ in known])
    parts = [(inputs - m) * s for (inputs, _), m, s in zip(known, mean, scale, strict=True)]
    x = torch.from_numpy(np.concatenate(parts))
    y = torch.from_numpy(np.concatenate([is_member for _, is_member in known])).double()
    sizes = torch.tensor([len(part) for part in parts])[:, None]
    first = sizes.cumsum(0) - sizes
    layers = _drawn((x.shape[1], *training.hidden, 1), len(groups), generator)
    optimizer = torch.optim.Adam([values for layer in layers for values in layer], training.lr)
    for _ in range(training.steps):
        share = torch.rand(len(groups), training.batch_size, dtype=torch.float64, generator=generator)
        index = first + (share * sizes).long()  # (G, B)
        loss = F.binary_cross_entropy_with_logits(_forward(x[index], layers), y[index], reduction="none")
        optimizer.zero_grad()
        loss.mean(1).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Networks(mean, scale, tuple((weight.detach(), bias.detach()) for weight, bias in layers))


def _forward(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(G, B) outputs for inputs (G, B, F)."""
    *hidden, (weight, bias) = layers
    for one, shift in hidden:
        x = torch.relu(torch.baddbmm(shift, x, one))
    return torch.baddbmm(bias, x, weight)[..., 0]


def _drawn(widths: Sequence[int], n: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """First weights: uniform within 1/sqrt(n_in); the last layer's are 0, so that whatever is said was learnt."""
    layers = []
    for place, (n_in, n_out) in enumerate(pairwise(widths), 2):
        bound = 1 / math.sqrt(n_in) if place < len(widths) else 0.0
        weight, bias = (
            (torch.rand(n, rows, n_out, dtype=torch.float64, generator=generator) * 2 - 1).mul_(bound).requires_grad_()
            for rows in (n_in, 1)
        )
        layers.append((weight, bias))
    return layers


def _inverse(std: Array) -> Array:
    """One over it; 0 where it is 0."""
    inverse: Array = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return inverse
