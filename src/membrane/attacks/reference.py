"""Attack-R: which share of the models that never saw x is less sure of it than the target?

Source: Ye et al. 2022, "Enhanced Membership Inference Attacks against Machine Learning Models", arXiv:2111.09679,
Attack-R. For few references the paper smooths the share. Ours is its linear interpolation, with two differences: we
interpolate rescaled logits (the paper: losses), and outside of the references the remaining 1 / (n + 1) falls off as
exp(-distance in logits), which for sure predictions is the paper's straight line from the lowest loss to 0 and needs
no largest possible loss. The paper's other smoothing, a Gaussian on the rescaled logit, is the attack 'lira_offline'
with one variance per example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.references import Array
from membrane.core.errors import SettingError
from membrane.core.values import Bools, Floats, Observation

Smoothing = Literal["linear", "none"]


@dataclass(frozen=True)
class AttackR(Attack):
    """Share of the OUT references that give the label at most the target's probability, averaged over queries.

    With n OUT references the bare share has n + 1 values only, and at n = 3 a quarter of all non-members share the
    highest one, so nothing can be said below 25 % FPR. Smoothed, examples hardly ever tie.

    Args:
        smoothing: "linear": log-odds of the interpolated share, any real; "none": the share itself, 0 to 1.

    Raises:
        SettingError: If ``smoothing`` is neither.
    """

    name: ClassVar[str] = "reference"
    source: ClassVar[str] = "Ye et al. 2022, arXiv:2111.09679 (Attack-R)"
    signals: ClassVar[tuple[str, ...]] = ("rescaled_logit",)  # rises with p_y, and does not round to 1
    min_out_models: ClassVar[int] = 1
    examples_apart: ClassVar[bool] = True

    smoothing: Smoothing = "linear"

    def __post_init__(self) -> None:
        if self.smoothing not in get_args(Smoothing):
            raise SettingError(f"smoothing is {self.smoothing!r}; it must be one of {', '.join(get_args(Smoothing))}.")

    def score(self, seen: Observation) -> Scores:
        logit = seen.target.rescaled_logit.astype(np.float64)
        below, nearest_below, nearest_above = neighbours(logit, seen.reference.rescaled_logit, ~seen.in_reference)
        n_out = seen.n_out[:, None].astype(np.float64)
        if self.smoothing == "none":
            return over_queries(below / n_out)
        return over_queries(log_odds(logit, below, n_out, nearest_below, nearest_above))


def neighbours(logit: Array, reference: Floats, chosen: Bools) -> tuple[Array, Array, Array]:
    """Where the target stands among the chosen references, each (N, Q).

    Returns:
        How many of them are at most ``logit``; the largest of those (-inf if none); the smallest above it (inf if
        none).
    """
    below = np.zeros_like(logit)
    nearest_below, nearest_above = np.full_like(logit, -np.inf), np.full_like(logit, np.inf)
    for row, marked in zip(reference, chosen, strict=True):
        is_below, is_above = marked[:, None] & (row <= logit), marked[:, None] & (row > logit)
        below += is_below
        np.maximum(nearest_below, np.where(is_below, row, -np.inf), out=nearest_below)
        np.minimum(nearest_above, np.where(is_above, row, np.inf), out=nearest_above)
    return below, nearest_below, nearest_above


def log_odds(logit: Array, below: Array, n_out: Array, nearest_below: Array, nearest_above: Array) -> Array:
    """Log-odds of the share of references below, interpolated so that the k-th of n stands at k / (n + 1)."""
    lowest, highest = below == 0, below == n_out
    step = np.where(lowest | highest, 1.0, nearest_above - nearest_below)
    share = (below + np.where(lowest | highest, 0.0, logit - nearest_below) / step) / (n_out + 1)
    # The tails, exp(-distance) / (n + 1), as their logarithm: as a number it would round to 0.
    distance = np.where(lowest, nearest_above - logit, np.where(highest, logit - nearest_below, 0.0))
    log_tail = -distance - np.log(n_out + 1)
    tail = log_tail - np.log1p(-np.exp(log_tail))
    inside = np.where(lowest | highest, 0.5, share)
    odds: Array = np.where(lowest, tail, np.where(highest, -tail, np.log(inside) - np.log1p(-inside)))
    return odds
