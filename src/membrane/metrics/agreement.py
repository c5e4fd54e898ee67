"""Do several runs point at the same people? Coverage, stability and overlap of the examples that each accuses.

Source: Wang et al. 2025, "Membership Inference Attacks as Privacy Tools: Reliability, Disparity and Ensemble",
arXiv:2506.13972, which found that attacks of equal success under different seeds name different members. Where we
differ: each run accuses the same share of the examples, so that no threshold is set with their labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics.arrays import BoolArray, bools, finite_floats
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
    return agreement_of(said, np.ones_like(said), share, level=level)


def agreement_of(said: ArrayLike, counted: ArrayLike, share: float, *, level: float = 0.95) -> Agreement:
    """The same of accusations that were made already, where not every example counts in every run.

    So it is with models that play target in turn: an example is caught by those alone that were trained on it. An
    example is accused by all runs if all in which it counts accuse it; two runs overlap on what counts in both.

    Args:
        said: (S, N) bool, who accuses whom.
        counted: (S, N) bool, the accusations that count.
        share: Of the examples that each run accuses, at most.
        level: Coverage of the intervals.

    Raises:
        DataError: If the arrays do not fit each other.
        NotEnoughDataError: If there is one run only, or nothing counts.
    """
    counts = bools(counted, "counted", 2)
    hits = bools(said, "said", 2)
    if hits.shape != counts.shape:
        raise DataError(f"said has shape {hits.shape}, counted {counts.shape}; they must be equal.")
    hits = hits & counts
    if len(hits) < 2 or not counts.any():
        raise NotEnoughDataError(
            f"{len(hits)} runs with {int(counts.sum())} accusations that count; two runs at least."
        )
    n_hits, n_runs = hits.sum(axis=0), counts.sum(axis=0)
    there = n_runs > 0

    def rate(found: BoolArray) -> Rate:
        return clopper_pearson(int(np.count_nonzero(found & there)), int(there.sum()), level)

    overlap, by_chance = _overlaps(hits, counts)
    return Agreement(
        len(hits),
        share,
        coverage=rate(n_hits > 0),
        stability=rate(n_hits == n_runs),
        majority=rate(2 * n_hits > n_runs),
        overlap=overlap,
        overlap_by_chance=by_chance,
    )


def _overlaps(hits: BoolArray, counts: BoolArray) -> tuple[float, float]:
    """Mean Jaccard index of two runs on what counts in both, and what it would be about by chance; NaN if none does."""
    one, all_of_it = hits.astype(np.float64), counts.astype(np.float64)
    both = one @ one.T
    here = one @ all_of_it.T
    either = here + here.T - both
    upper = np.triu(either > 0, k=1)
    part = float(hits.sum() / counts.sum())
    found = float((both[upper] / either[upper]).mean()) if upper.any() else math.nan
    return found, part / (2 - part)


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
