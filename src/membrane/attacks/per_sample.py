"""Per-sample calibration: how unusual is an attack's score of x among its scores of x on models that never saw it?

Source: the threshold of each example from its OUT models is Attack-R (Ye et al. 2022, arXiv:2111.09679), there with
the loss; here the score of any attack takes its place. That one threshold for all examples gives every example another
false-positive rate is the point of arXiv:2605.25819 and arXiv:2505.18773; this is not their procedure. A reference
that plays target is left out of its own references, and the target is in nobody's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from operator import itemgetter
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.midpoint import Midpoint
from membrane.attacks.on_attacks import OnAttacks
from membrane.attacks.reference import log_odds, neighbours
from membrane.core.values import Observation


@dataclass(frozen=True)
class PerSample(OnAttacks):
    """Log-odds of the share of x's OUT references that the base scores at most as high as the target.

    One minus the share estimates the false-positive rate of accusing x at its score, for x alone; with n OUT
    references nothing below 1 / (n + 1) is observed, and what lies beyond is the tail of Attack-R. An audit of R models
    scores R squared times.

    Args:
        base: Any attack on scores; 'midpoint' if not said otherwise.

    Raises:
        SettingError: If ``base`` is no attack on scores.
    """

    name: ClassVar[str] = "per_sample"
    source: ClassVar[str] = "Ye et al. 2022, arXiv:2111.09679 (Attack-R), of any score"
    by_default: ClassVar[bool] = False

    base: Attack = field(default_factory=Midpoint)

    @property
    def parts(self) -> tuple[Attack]:
        return (self.base,)

    @property
    def min_in_models(self) -> int:  # type: ignore[override]
        return self.base.min_in_models and self.base.min_in_models + 1

    @property
    def min_out_models(self) -> int:  # type: ignore[override]
        return self.base.min_out_models + 1

    def score(self, seen: Observation) -> Scores:
        target = self.base.score(seen)[:, None]
        known = np.stack([self.base.score(without(seen, row)) for row in range(len(seen.in_reference))])[..., None]
        below, nearest_below, nearest_above = neighbours(target, known, ~seen.in_reference)
        return log_odds(target, below, seen.n_out[:, None].astype(np.float64), nearest_below, nearest_above)[:, 0]


def without(seen: Observation, row: int) -> Observation:
    """The observation with reference ``row`` as the target, and no longer among the references."""
    others = np.delete(np.arange(len(seen.in_reference)), row)
    return dataclasses.replace(
        seen,
        target=seen.reference.map(itemgetter(row)),
        reference=seen.reference.map(itemgetter(others)),
        in_reference=seen.in_reference[others],
        population=seen.population_reference.map(itemgetter(row)),
        population_reference=seen.population_reference.map(itemgetter(others)),
    )
