"""Do several runs point at the same people? Coverage, stability and overlap of the examples that each accuses.

Source: Wang et al. 2025, "Membership Inference Attacks as Privacy Tools: Reliability, Disparity and Ensemble",
arXiv:2506.13972, which found that attacks of equal success under different seeds name different members. Where we
differ: each run accuses the same share of the examples, so that no threshold is set with their labels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import NotEnoughDataError, SettingError
from membrane.metrics.arrays import BoolArray, finite_floats
from membrane.metrics.intervals import Rate, clopper_pearson


@dataclass(frozen=True)
class Agreement:
    """What S runs (seeds, attacks, targets) say of the same N examples.

    Args:
        n_runs: S.
        share: Of the examples that each run accuses, at most.
        coverage: Accused by one run or more; ``share`` if all agree, up to S times that if none do.
        stability: Accused by all runs; ``share`` if all agree.
        majority: Accused by more than half.
        overlap: Mean over pairs of runs of the Jaccard index, accused by both over accused by either; 1 if all agree.
        overlap_by_chance: What it would be about if the runs had nothing in common.
    """

    n_runs: int
    share: float
    coverage: Rate
    stability: Rate
    majority: Rate
    overlap: float
    overlap_by_chance: float


def agreement(scores: ArrayLike, share: float, *, level: float = 0.95) -> Agreement:
    """How far runs agree on whom to accuse.

    Intervals take examples as independent and the runs as given: they say nothing about further runs.

    Args:
        scores: (S, N), one row for each run, higher means more likely a member. Give the columns that are to be judged,
            such as the members of all runs.
        share: Of the N examples that each run accuses; 0.01 asks for the hundredth part with the highest scores.
        level: Coverage of the intervals.

    Raises:
        DataError: If scores are not (S, N) finite numbers.
        NotEnoughDataError: If there is one run only, or ``share`` is less than one example, or some run's scores tie
            so that no one can be accused.
        SettingError: If ``share`` is not above 0 and below 1.
    """
    said = accused(scores, share)
    if len(said) < 2:
        raise NotEnoughDataError("one run agrees with itself; give the scores of two or more.")
    counts = said.sum(axis=0)
    both = [((one & other).sum(), (one | other).sum()) for one, other in itertools.combinations(said, 2)]
    part = float(said.mean())

    def rate(least: int) -> Rate:
        return clopper_pearson(int(np.count_nonzero(counts >= least)), counts.size, level)

    return Agreement(
        len(said),
        share,
        coverage=rate(1),
        stability=rate(len(said)),
        majority=rate(len(said) // 2 + 1),
        overlap=float(np.mean([hit / either for hit, either in both])),
        overlap_by_chance=part / (2 - part),
    )


def accused(scores: ArrayLike, share: float) -> BoolArray:
    """(S, N), the examples with the highest scores of each run; a tied group is accused whole or not at all.

    Arguments and errors are those of ``agreement``.
    """
    checked = finite_floats(scores, "scores", 2)
    if not 0 < share < 1:  # written this way round so that NaN is refused too
        raise SettingError(f"share is {share}; it must be above 0 and below 1 (0.01 means 1 %).")
    n = checked.shape[1]
    allowed = math.floor(share * n * (1 + 1e-9))
    if allowed < 1:
        raise NotEnoughDataError(f"{share:.3%} of {n} examples is less than one; ask for {1 / n:.3%} or more.")
    first_refused = -np.partition(-checked, allowed, axis=1)[:, allowed, None]
    found: BoolArray = checked > first_refused
    if not found.any(axis=1).all():
        raise NotEnoughDataError(f"in a run more than {allowed} scores tie for the highest; ask for a larger share.")
    return found
