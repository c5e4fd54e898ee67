"""Quantile regression: is the target surer of x than a regressor on strangers expects of an input like x?

Source: Bertran et al. 2023, "Scalable Membership Inference Attacks via Quantile Regression", arXiv:2307.03694. No
reference model and no knowledge of the architecture. Theirs accuses x if its score is above a quantile; ours says how
far, so that there is a ROC: in standard deviations by a Gaussian head, in logits above one quantile. How the regressor
differs from theirs is said where it is fitted (the reading ``expectation``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.core.values import Observation
from membrane.readings import Expectation, Reading
from membrane.readings.expectation import By

_LEAST = 1e-6  # standard deviation, logit units


@dataclass(frozen=True)
class QuantileRegression(Attack):
    """How far the target's margin on x is above what is expected of a non-member like x.

    Args:
        by: "gaussian", in standard deviations from the expected mean; "quantile" or "boosting", in logits from the
            quantile that a share ``alpha`` of non-members exceeds, by a network or by gradient-boosted trees.
        alpha: Above 0, below 1; without effect on "gaussian".
        folds: Of the population, 2 or more.
        epochs: Of each network.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "quantile_regression"
    source: ClassVar[str] = "Bertran et al. 2023, arXiv:2307.03694"
    signals: ClassVar[tuple[str, ...]] = ("margin",)
    min_population: ClassVar[int] = 100
    trains: ClassVar[str] = "regressors of every model's margins on the population"
    examples_apart: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    by: By = "gaussian"
    alpha: float = 0.05
    folds: int = 5
    epochs: int = 30

    def __post_init__(self) -> None:
        self._expectation  # noqa: B018 -- refuses what is outside its range

    @property
    def _expectation(self) -> Expectation:
        return Expectation(self.by, self.alpha, self.folds, self.epochs)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (self._expectation,)

    def score(self, seen: Observation) -> Scores:
        location, scale = seen.target[self._expectation.key].astype(np.float64).T
        scores: Scores = (over_queries(seen.target.margin) - location) / np.maximum(scale, _LEAST)
        return scores
