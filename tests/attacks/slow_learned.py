"""Learned attacks once more, one network after another: torch's own layers and optimizer, standardized by loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from membrane.core.generators import torch_generator
from membrane.core.values import Observation, Signals
from tests.attacks.slow import Slow

Array = npt.NDArray[np.float64]
Inputs = Callable[[Signals], npt.NDArray[np.floating]]
SMALL = {"hidden": (8,), "steps": 8, "batch_size": 50, "lr": 0.05}  # a moment, and enough for a planted leak


def drawn_networks(widths: Sequence[int], n: int, generator: torch.Generator) -> list[nn.Sequential]:
    """Layer by layer, weights of all networks before biases of all; the last layer is drawn too, but begins at 0."""
    layers: list[list[nn.Module]] = [[] for _ in range(n)]
    for place, (n_in, n_out) in enumerate(pairwise(widths)):
        last = place == len(widths) - 2
        weight = torch.rand(n, n_in, n_out, dtype=torch.float64, generator=generator)
        bias = torch.rand(n, 1, n_out, dtype=torch.float64, generator=generator)
        for i in range(n):
            linear = nn.Linear(n_in, n_out, dtype=torch.float64)
            bound = 0 if last else 1 / math.sqrt(n_in)
            linear.weight.data = (bound * (2 * weight[i] - 1)).T.contiguous()
            linear.bias.data = bound * (2 * bias[i, 0] - 1)
            layers[i] += [linear] if last else [linear, nn.ReLU()]
    return [nn.Sequential(*parts) for parts in layers]


def learned(
    name: str,
    inputs: Inputs,
    per_class: bool = False,
    *,
    hidden: tuple[int, ...] = (8,),
    steps: int = 8,
    batch_size: int = 50,
    lr: float = 0.05,
) -> Slow:
    """Log-odds by one network for each class, or for all of them, trained on the references' trials."""

    def slow(seen: Observation) -> Array:
        generator = torch_generator(0, "attack", name)
        classes = sorted(set(seen.labels.tolist())) if per_class else [None]
        asked, known = inputs(seen.target).tolist(), inputs(seen.reference).tolist()
        n_inputs = len(asked[0])
        networks = drawn_networks((n_inputs, *hidden, 1), len(classes), generator)
        draws = [
            torch.rand(len(classes), batch_size, dtype=torch.float64, generator=generator).tolist()
            for _ in range(steps)
        ]
        scores = np.empty(len(asked))
        for place, (label, network) in enumerate(zip(classes, networks, strict=True)):
            mine = [n for n in range(len(asked)) if label is None or seen.labels[n] == label]
            trials = sorted(
                (tuple(known[r][n]), bool(seen.in_reference[r, n])) for r in range(len(known)) for n in mine
            )
            columns = list(zip(*(values for values, _ in trials), strict=True))
            mean = [math.fsum(column) / len(trials) for column in columns]
            spread = [
                math.sqrt(math.fsum((v - m) ** 2 for v in column) / len(trials))
                for column, m in zip(columns, mean, strict=True)
            ]

            def scaled(values: Sequence[float], mean: list[float] = mean, spread: list[float] = spread) -> list[float]:
                return [(v - m) / s if s else 0.0 for v, m, s in zip(values, mean, spread, strict=True)]

            optimizer = torch.optim.Adam(network.parameters(), lr)
            for step in range(steps):
                batch = [trials[int(share * len(trials))] for share in draws[step][place]]
                x = torch.tensor([scaled(values) for values, _ in batch], dtype=torch.float64)
                y = torch.tensor([float(is_member) for _, is_member in batch], dtype=torch.float64)
                optimizer.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y).backward()
                optimizer.step()
            for n in mine:
                scores[n] = network(torch.tensor(scaled(asked[n]), dtype=torch.float64)).item()
        return scores

    return slow
