"""Attacks and metrics against values that have a formula: expected and found.

    python benchmarks/known.py

Scores are Gaussian, so areas and rates are known; line-ups are Gaussian around a hardness of each example, so it is
known how well an attack does that compares with nothing, with the OUT references, or with both. The published figures
of attacks on real networks take a GPU; these take seconds, and would show a wrong sign, a wrong variance, a reference
that has seen its target or a threshold that is off by one.

Ends with status 1 if a value is further off than four standard errors.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from membrane.attacks import ATTACKS, Lineup
from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.values import SIGNAL_KINDS, Bools, Signals
from membrane.data.membership import complementary_pairs, references_each
from membrane.metrics import Estimate, auc_estimate, tpr_estimate

Array = npt.NDArray[np.float64]
FPRS = (0.1, 0.01, 0.001)
LEAK, HARDNESS = 1.5, 2.0  # in standard deviations of one model's answer


@dataclass(frozen=True)
class Known:
    """One value.

    Args:
        what: It is.
        expected: By the formula.
        found: By our code.
        error: Standard error of what was found.
    """

    what: str
    expected: float
    found: float
    error: float

    @property
    def is_off(self) -> bool:
        """Whether it is further off than four standard errors."""
        return abs(self.found - self.expected) > 4 * self.error


def known(generator: np.random.Generator, n: int = 200_000, n_models: int = 16) -> Iterator[Known]:
    """Every value; ``n`` trials of each kind.

    Args:
        generator: Of the scores.
        n: Members, and as many non-members.
        n_models: In the line-ups.
    """
    member = np.arange(2 * n)[None] % 2 == 0
    yield from _normals("two normals", generator.normal(size=member.shape) + member, member, 1.0, 1)
    shape = n_models, 2 * n // n_models
    is_member = complementary_pairs(*shape, torch_generator(0, "known"))
    hardness = HARDNESS * generator.normal(size=(1, shape[1]))
    logit = hardness + generator.normal(size=shape) + LEAK * is_member
    lineup = _lineup(logit, is_member)
    n_each = references_each(n_models)
    # What is added to the variance 1 of the target's answer: hardness itself, or the error of the references' means.
    added = {"confidence": HARDNESS**2, "midpoint": 1 / (2 * n_each)}
    for name, variance in added.items():
        distance = LEAK / math.sqrt(1 + variance)
        yield from _normals(name, ATTACKS.make(name).against_all(lineup), is_member, distance, 2)


def _normals(what: str, scores: Array, member: Bools, distance: float, models_per_cluster: int) -> Iterator[Known]:
    """Area and rates where members' scores are ``distance`` standard deviations above the others'."""
    area = float(norm.cdf(distance / math.sqrt(2)))
    yield _one(f"{what}: area", area, auc_estimate(scores, member), models_per_cluster)
    for fpr in FPRS:
        expected = float(norm.cdf(distance + norm.ppf(fpr)))
        yield _one(f"{what}: caught at {fpr:.1%}", expected, tpr_estimate(scores, member, fpr), models_per_cluster)


def _one(what: str, expected: float, estimate: Estimate, models_per_cluster: int) -> Known:
    return Known(what, expected, estimate.value, estimate.spread(models_per_cluster).error)


def _lineup(logit: Array, member: Bools) -> Lineup:
    values = logit[..., None]
    kinds = {kind: -values if kind == "loss" else values for kind in SIGNAL_KINDS}
    signals = Signals(**kinds)
    return Lineup(signals, member, np.zeros(member.shape[1], np.int64), signals.map(lambda v: v[:, :0]))


def main() -> int:
    """Status for the shell."""
    off = []
    for one in known(numpy_generator(0, "known")):
        off += [one.what] * one.is_off
        print(f"{one.what}: expected {one.expected:.4f}, found {one.found:.4f} (standard error {one.error:.4f})")
    print(f"off: {', '.join(off) or 'nothing'}")
    return int(bool(off))


if __name__ == "__main__":
    sys.exit(main())
