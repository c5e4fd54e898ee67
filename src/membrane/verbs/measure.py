"""Where scores meet the targets' membership: the measured leakage and accuracy of one defense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from membrane.core.errors import NotEnoughDataError
from membrane.core.generators import numpy_generator
from membrane.core.values import Bools
from membrane.data.task import Task
from membrane.metrics import (
    Interval,
    Rate,
    Resamples,
    Slice,
    auc,
    auc_replicates,
    mean_replicates,
    percentile_interval,
    resample,
    roc,
    roc_replicates,
    tpr_at_fpr,
)
from membrane.training import Bank

FPRS = (0.1, 0.01, 0.001)
LEVEL = 0.95
CURVE_POINTS = 240  # of a ROC in the results; the exact one is in the stored scores
EXPOSED = 20  # records listed


@dataclass(frozen=True)
class Measurement:
    """Scores of all attacks on all models of one defense, with everything needed to judge them.

    Args:
        scores: By attack, (R, N), higher = more likely a member.
        is_member: (R, N), the targets' membership.
        slices: Named parts of the pool.
        test_correct: (R, Z) 1.0 where a model classifies a test example rightly.
        train_correct: (R, N) the same on the pool; read on members only.
        draws: Bootstrap draws of models and pool examples, shared by all defenses of a comparison.
        test_draws: The same draws of models with draws of test examples.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    is_member: Bools
    slices: tuple[Slice, ...]
    test_correct: npt.NDArray[np.float64]
    train_correct: npt.NDArray[np.float64]
    draws: Resamples
    test_draws: Resamples

    @property
    def n_models(self) -> int:
        """R."""
        return len(self.is_member)

    @property
    def n_clusters(self) -> int:
        """Units that the bootstrap draws as wholes: complementary pairs of models."""
        return max(self.n_models // 2, 1)

    @cached_property
    def accuracy_replicates(self) -> npt.NDArray[np.float64]:
        """(B,) test accuracy in each bootstrap draw."""
        return mean_replicates(self.test_correct, self.test_draws)

    def slice(self, name: str) -> Slice:
        """The named slice."""
        return next(one for one in self.slices if one.name == name)

    def auc(self, attack: str, slice_name: str) -> float:
        """Area under the ROC of the pooled trials of a slice."""
        mask = self.slice(slice_name).mask
        return auc(self.scores[attack][:, mask].ravel(), self.is_member[:, mask].ravel())

    def auc_replicates(self, attack: str, slice_name: str) -> npt.NDArray[np.float64]:
        """(B,) the same in each bootstrap draw."""
        mask = self.slice(slice_name).mask
        return auc_replicates(self.scores[attack][:, mask], self.is_member[:, mask], self.draws.for_slice(mask))

    def strongest(self, slice_name: str) -> str:
        """Attack with the largest area on a slice."""
        return max(self.scores, key=lambda attack: self.auc(attack, slice_name))

    def plain(self, task: Task) -> dict[str, Any]:
        """JSON-ready accuracy, slices and most exposed records."""
        parts = {part.name: self._slice(part) for part in self.slices if part.mask.any()}
        return {"accuracy": self._accuracy(task), "slices": parts, "exposed": self._exposed(task)}

    def _accuracy(self, task: Task) -> dict[str, Any]:
        test = percentile_interval(float(self.test_correct.mean()), self.accuracy_replicates, LEVEL, self.n_clusters)
        ordinary = self.is_member.copy()
        ordinary[:, task.canaries] = False
        train = float(self.train_correct[ordinary].mean())
        return {
            "test": _plain(test) | {"n": self.test_correct.size},
            "train": {"value": train, "n": int(ordinary.sum())},
            "gap": train - float(self.test_correct.mean()),
        }

    def _slice(self, part: Slice) -> dict[str, Any]:
        member = self.is_member[:, part.mask].ravel()
        attacks = {name: self._attack(name, part) for name in self.scores}
        return {
            "n_members": int(member.sum()),
            "n_non_members": int((~member).sum()),
            "attacks": attacks,
            "strongest": self.strongest(part.name),
        }

    def _attack(self, name: str, part: Slice) -> dict[str, Any]:
        scores, member = self.scores[name][:, part.mask], self.is_member[:, part.mask]
        rates = {fpr: _rate(scores, member, fpr) for fpr in FPRS}
        resolved = [fpr for fpr, rate in rates.items() if isinstance(rate, Rate)]
        areas, columns = roc_replicates(scores, member, resolved, self.draws.for_slice(part.mask))
        caught = dict(zip(resolved, columns.T, strict=True))
        curve = roc(scores.ravel(), member.ravel())
        chosen = _thin(curve.fpr, curve.tpr)
        return {
            "auc": _plain(percentile_interval(self.auc(name, part.name), areas, LEVEL, self.n_clusters)),
            "tpr": [{"fpr": fpr} | self._wider(rate, caught.get(fpr)) for fpr, rate in rates.items()],
            "roc": {"fpr": curve.fpr[chosen].tolist(), "tpr": curve.tpr[chosen].tolist()},
        }

    def _wider(self, rate: Rate | str, replicates: npt.NDArray[np.float64] | None) -> dict[str, Any]:
        """A rate with the wider of two intervals, end by end, or why it is refused.

        Clopper-Pearson counts trials as independent, which those of one model or one example are not; the cluster
        bootstrap knows that, but collapses where every member is caught.
        """
        if isinstance(rate, str) or replicates is None:
            return {"refused": rate}
        spread = percentile_interval(rate.value, replicates, LEVEL, self.n_clusters)
        return asdict(rate) | {
            "low": min(rate.low, spread.low),
            "high": max(rate.high, spread.high),
            "method": f"wider of Clopper-Pearson and {spread.method}",
            "note": spread.note,
        }

    def _exposed(self, task: Task) -> list[dict[str, Any]]:
        """Records that the strongest attack tells most surely from the same model's non-members."""
        name = self.strongest(self.slices[0].name)
        caught = np.full(self.is_member.shape, np.nan)
        for row, member in enumerate(self.is_member):
            others = np.sort(self.scores[name][row, ~member])
            caught[row, member] = np.searchsorted(others, self.scores[name][row, member]) / len(others)
        n_targets = self.is_member.sum(0)
        mean = np.nansum(caught, 0) / np.maximum(n_targets, 1)
        return [
            {
                "index": int(i),
                "label": task.pool.classes[int(task.pool.y[i])],
                "slice": next(part.name for part in self.slices if part.mask[i]),
                "caught": float(mean[i]),
                "n_targets": int(n_targets[i]),
            }
            for i in np.argsort(-mean, kind="stable")[:EXPOSED]
        ]


def measure(
    bank: Bank, scores: Mapping[str, npt.NDArray[np.float64]], task: Task, seed: int, n_resamples: int = 500
) -> Measurement:
    """Judge a bank's scores.

    Args:
        bank: Signals of R models.
        scores: By attack, (R, N).
        task: Membership, canaries, labels.
        seed: Of the bootstrap; defenses measured under one seed can be compared in pairs.
        n_resamples: Bootstrap draws.
    """
    n_models, n = task.membership.shape
    generator = numpy_generator(seed, "bootstrap")
    # One model can only be judged over examples; pairs are drawn together.
    draws = resample(n_models, n, n_resamples, generator, models=n_models > 1, models_per_draw=2 if n_models > 1 else 1)
    canary = np.zeros(n, dtype=bool)
    canary[task.canaries] = True
    return Measurement(
        scores,
        task.membership,
        (Slice("population", ~canary), Slice("canaries", canary)) if canary.any() else (Slice("population", ~canary),),
        bank.test.correct[..., 0].astype(np.float64),
        bank.pool.correct[..., 0].astype(np.float64),
        draws,
        draws.for_examples(bank.test.shape[1], generator),
    )


def _rate(scores: npt.NDArray[np.float64], member: Bools, fpr: float) -> Rate | str:
    """Share of members caught, or why it is refused."""
    try:
        return tpr_at_fpr(scores.ravel(), member.ravel(), fpr)
    except NotEnoughDataError as refusal:
        return str(refusal)


def _plain(interval: Interval) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(interval).items()}


def _thin(fpr: npt.NDArray[np.float64], tpr: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Points of a ROC to draw: evenly in the logarithm of the false-positive rate and along both axes."""
    if len(fpr) <= CURVE_POINTS:
        return np.arange(len(fpr))
    third = CURVE_POINTS // 3
    positive = max(float(np.min(fpr[fpr > 0])), 1e-9)
    wanted_fpr = np.concatenate([np.geomspace(positive, 1, third), np.linspace(0, 1, third)])
    by_fpr = np.searchsorted(fpr, wanted_fpr, side="right") - 1
    by_tpr = np.searchsorted(tpr, np.linspace(0, 1, third))
    return np.unique(np.concatenate([[0], by_fpr, by_tpr, [len(fpr) - 1]]).clip(0, len(fpr) - 1))
