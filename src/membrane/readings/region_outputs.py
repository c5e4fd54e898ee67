"""What can be read off each region's output: the label's log-odds there, and how large the output is.

Source: the read-out is a linear discriminant (Fisher 1936; Hastie, Tibshirani and Friedman 2009, section 4.3): class
means and one covariance, the same for all classes and shrunk towards a round one. Linear probes by depth are due to
Alain and Bengio 2016, arXiv:1610.01644; attacks on each layer's representation to Nasr et al. 2019, arXiv:1812.00910.
The size of representations as a trace of membership is SRCM's, arXiv:2407.16164. Where we differ: the read-out is
fitted to strangers alone, in closed form, so it knows no member and draws nothing but the strangers' halves.

A region's output depends on all the weights before it: what is read there tells where the leak shows, not where it is
stored, and read-outs rise with depth by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError
from membrane.data.examples import Examples
from membrane.data.loader import as_inputs
from membrane.models import signals_from_logits
from membrane.readings.inside import inside
from membrane.readings.reading import Reading, Reveals
from membrane.regions import partition
from membrane.regions.outputs import region_outputs

_LEAST = 1e-30  # magnitude of an output that is zero


@dataclass(frozen=True)
class RegionOutputs(Reading):
    """Of each region's output, K = 2 x regions: first the label's rescaled logit there, then the log of its size.

    The logit is read by discriminants that are fitted to the outputs of strangers and their labels, one to each half of
    the population: a stranger is read by the one that was fitted without it, an audited example by both, averaged. The
    size is the root of the mean square of the output. Positions of images and sequences are averaged before.

    Args:
        shrinkage: Share of the covariance that is replaced by a round one of the same size; above 0, 1 at most.

    Raises:
        SettingError: If ``shrinkage`` lies outside.
    """

    name: ClassVar[str] = "region_outputs"
    threat_model: ClassVar[Reveals] = "weights"
    min_population: ClassVar[int] = 2

    shrinkage: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            raise SettingError(f"shrinkage is {self.shrinkage}; it must be above 0, and 1 at most.")

    def columns(self, model: nn.Module, pool: Examples) -> tuple[str, ...]:
        network = inside(model)
        names = partition(network, as_inputs(pool.x[:2])).names
        return (*(f"readout {name}" for name in names), *(f"magnitude {name}" for name in names))

    def read(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """(N, K) and (Z, K).

        Raises:
            ModelError: If there are fewer than two strangers, or a region's output cannot be read.
        """
        if population is None or len(population) < self.min_population:
            raise ModelError(f"reading {self.name!r} is fitted to strangers; pass a population of 2 or more.")
        network = inside(model)
        cut = partition(network, as_inputs(pool.x[:2]))
        strange = [torch.cat(one) for one in zip(*region_outputs(network, cut, population.x), strict=True)]
        first = torch.randperm(len(population), generator=generator) % 2 == 0
        n_classes = len(population.classes)
        halves = [
            [Discriminant.fitted(one[half], population.y[half], n_classes, self.shrinkage) for one in strange]
            for half in (first, ~first)
        ]
        of_pool, start = [], 0
        for outputs in region_outputs(network, cut, pool.x):
            y = pool.y[start : (start := start + len(outputs[0]))]
            logits = [_logits(outputs, half, y) for half in halves]
            of_pool.append(np.concatenate([(logits[0] + logits[1]) / 2, _sizes(outputs)], axis=1))
        of_strangers = np.empty((len(population), of_pool[0].shape[1]))
        for half, others in zip(halves, (~first, first), strict=True):
            outputs = [one[others] for one in strange]
            found = np.concatenate([_logits(outputs, half, population.y[others]), _sizes(outputs)], axis=1)
            of_strangers[others.numpy()] = found
        return np.concatenate(of_pool), of_strangers


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant: Gaussian classes of one covariance, all classes equally likely.

    Args:
        weight: (D, C) float64.
        bias: (C,).
    """

    weight: Tensor
    bias: Tensor

    @staticmethod
    def fitted(features: Tensor, y: Tensor, n_classes: int, shrinkage: float) -> Discriminant:
        """Fitted to features (Z, D) of labels (Z,); a class without examples has the mean of all, and says nothing."""
        features = features.double()
        counts = torch.bincount(y, minlength=n_classes)
        sums = torch.zeros(n_classes, features.shape[1], dtype=torch.float64).index_add_(0, y, features)
        centre = features.mean(0)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centre) - centre
        residuals = features - centre - means[y]
        covariance = residuals.T @ residuals / max(len(y) - int((counts > 0).sum()), 1)
        size = max(float(covariance.diagonal().mean()), torch.finfo(torch.float64).tiny ** 0.5)
        covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * size)
        weight = torch.linalg.solve(covariance, means.T)
        return Discriminant(weight, -(weight.T * means).sum(1) / 2 - centre @ weight)

    def logits(self, features: Tensor) -> Tensor:
        """(N, C) log-densities of the classes, up to what they have in common."""
        return features.double() @ self.weight + self.bias


def _logits(outputs: list[Tensor], read: list[Discriminant], y: Tensor) -> npt.NDArray[np.float64]:
    """(B, regions) rescaled logits of the labels."""
    found = [
        signals_from_logits(one.logits(output), y).rescaled_logit[:, 0]
        for output, one in zip(outputs, read, strict=True)
    ]
    return np.stack(found, axis=1).astype(np.float64)


def _sizes(outputs: list[Tensor]) -> npt.NDArray[np.float64]:
    """(B, regions) logs of root mean squares."""
    sizes = [output.double().square().mean(1).sqrt().clamp_min(_LEAST).log() for output in outputs]
    return torch.stack(sizes, 1).numpy()
