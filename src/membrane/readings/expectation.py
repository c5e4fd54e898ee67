"""Expectation: what a regressor that was fitted on strangers expects the model to say of an input that it never saw.

Source: Bertran et al. 2023, "Scalable Membership Inference Attacks via Quantile Regression", arXiv:2307.03694: a
regressor from the input to the quantiles of a score on non-members, or to its mean and variance; the score is the hinge
z_y - max_{j != y} z_j. With trees, as in SACRO-ML. Where we differ: small networks of the zoo, fresh, where the paper
fine-tunes a ConvNeXt; the population is dealt into folds, one regressor leaves each out, and examples audited get the
mean of all, so that strangers are read out of sample, too.

Cost for each model: ``folds`` regressors on the population.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.generators import spawn_seed
from membrane.core.settings import check_ranges
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import Batch, as_inputs
from membrane.models import signals_of
from membrane.models.signals import device_of, evaluating
from membrane.readings.fitting import fitting, population_mistakes, population_of, small_network
from membrane.readings.reading import Reading, Reveals

By = Literal["gaussian", "quantile", "boosting"]
Array = npt.NDArray[np.float64]
Expects = Callable[[Examples], Array]  # (N, 2), of a margin that was brought to mean 0 and standard deviation 1
_WIDEST = 5.0  # of the logarithm of a standard deviation, in either direction
_BATCH = 125


@dataclass(frozen=True)
class Expectation(Reading):
    """Location and scale, K = 2, of the margin that an input's non-members have; both in logit units.

    Args:
        by: "gaussian": a network for mean and standard deviation; "quantile": a network for the quantile that a share
            ``alpha`` of non-members exceeds, with scale 1; "boosting": gradient-boosted trees for the same.
        alpha: Above 0, below 1; without effect on "gaussian".
        folds: Of the population, 2 or more.
        epochs: Of each network.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "expectation"
    threat_model: ClassVar[Reveals] = "scores"

    by: By = "gaussian"
    alpha: float = 0.05
    folds: int = 5
    epochs: int = 30

    def __post_init__(self) -> None:
        check_ranges(
            self,
            by=(self.by in get_args(By), f"one of {', '.join(get_args(By))}"),
            alpha=(0 < self.alpha < 1, "above 0, below 1"),
            folds=(self.folds >= 2, "2 or more"),
            epochs=(self.epochs >= 1, "1 or more"),
        )

    @property
    def queries(self) -> int:
        """None: the model is asked about the population alone, regressors about the audited examples."""
        return 0

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        return population_mistakes(population)

    def read(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        public = population_of(population)
        margin = signals_of(model, public).margin[:, 0].astype(np.float64)  # (Z,)
        mean, std = margin.mean(), max(margin.std(), np.finfo(np.float32).tiny)
        of_pool, of_public = np.zeros((len(pool), 2)), np.empty((len(public), 2))
        fold_of = torch.randperm(len(public), generator=generator).numpy() % self.folds
        for fold in range(self.folds):
            rest, left_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            expects = self._fitted(public[rest], (margin[rest] - mean) / std, device_of(model), generator)
            of_pool += expects(pool) / self.folds
            of_public[left_out] = expects(public[left_out])
        in_logits = np.array([std, std if self.by == "gaussian" else 1.0])
        return of_pool * in_logits + [mean, 0.0], of_public * in_logits + [mean, 0.0]

    def _fitted(self, examples: Examples, margin: Array, device: torch.device, generator: torch.Generator) -> Expects:
        if self.by == "boosting":
            return _boosted(examples, margin, 1 - self.alpha, spawn_seed(generator))
        network = small_network(examples, 2, generator).to(device)
        wanted = torch.from_numpy(margin).float()

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            above = wanted[batch.index].to(outputs.device) - outputs[:, 0]
            if self.by == "quantile":
                return torch.maximum((1 - self.alpha) * above, -self.alpha * above).mean()
            log_std = outputs[:, 1].clamp(-_WIDEST, _WIDEST)
            return (log_std + 0.5 * (above * torch.exp(-log_std)).square()).mean()

        for _ in fitting(network, examples, loss, self.epochs, generator):
            pass
        return lambda asked: self._answers(network, asked)

    def _answers(self, network: nn.Module, examples: Examples) -> Array:
        device = device_of(network)
        with evaluating(network):
            found = torch.cat([network(as_inputs(x.to(device))).cpu() for x in pieces(examples.x, _BATCH)]).double()
        location, log_std = found.numpy().T
        scale = np.exp(log_std.clip(-_WIDEST, _WIDEST)) if self.by == "gaussian" else np.ones_like(location)
        return np.stack([location, scale], axis=1)


def _boosted(examples: Examples, margin: Array, quantile: float, seed: int) -> Expects:
    """Gradient-boosted trees for one quantile of the margin."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def table(some: Examples) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = torch.cat([as_inputs(x).flatten(1) for x in pieces(some.x)]).numpy()
        return rows

    trees = HistGradientBoostingRegressor(loss="quantile", quantile=quantile, random_state=seed % 2**32)
    trees.fit(table(examples), margin)

    def expects(some: Examples) -> Array:
        location = trees.predict(table(some))
        return np.stack([location, np.ones(len(location))], 1)

    return expects
