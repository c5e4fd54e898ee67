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
    Estimate,
    Interval,
    Resamples,
    Slice,
    auc,
    auc_estimate,
    auc_replicates,
    mean_estimate,
    mean_replicates,
    non_members_to_measure,
    resample,
    roc,
    share_interval,
    tpr_at_fpr,
    tpr_estimate,
    tpr_replicates,
)
from membrane.training import Bank
from membrane.verbs.risk import exposed, groups, risk

MEASURE_VERSION = 2  # raise when a change alters scores of attacks, or what is said about them
FPRS = (0.1, 0.01, 0.001)
LEVEL = 0.95
RELATIVE_ERROR = 0.5  # a rate is called measured if its interval is within half of it
FEW_ACCUSED = 10  # examples behind a false-positive rate from which its interval covers what it says
CURVE_POINTS = 240  # of a ROC in the results; the exact one is in the stored scores


@dataclass(frozen=True)
class Measurement:
    """Scores of all attacks on all models of one defense, with everything needed to judge them.

    Args:
        scores: By attack, (R, N), higher = more likely a member.
        is_member: (R, N), the targets' membership.
        slices: Named parts of the pool, population first.
        groups: Classes and other named parts that are compared with the rest of the population.
        test_correct: (R, Z) 1.0 where a model classifies a test example rightly.
        train_correct: (R, N) the same on the pool; read on members only.
        seed: Of bootstrap draws, for frontiers.
        n_resamples: Of them.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    is_member: Bools
    slices: tuple[Slice, ...]
    groups: tuple[Slice, ...]
    test_correct: npt.NDArray[np.float64]
    train_correct: npt.NDArray[np.float64]
    seed: int
    n_resamples: int = 500

    @property
    def n_models(self) -> int:
        """R."""
        return len(self.is_member)

    @property
    def models_per_cluster(self) -> int:
        """Models that belong together: complementary pairs; one model stands alone."""
        return 2 if self.n_models > 1 else 1

    @cached_property
    def draws(self) -> Resamples:
        """Bootstrap draws of pairs of models and of pool examples, the same for all defenses under one seed."""
        return self._all_draws[0]

    @cached_property
    def accuracy_replicates(self) -> npt.NDArray[np.float64]:
        """(B,) test accuracy in each bootstrap draw."""
        return mean_replicates(self.test_correct, self._all_draws[1])

    @cached_property
    def _all_draws(self) -> tuple[Resamples, Resamples]:
        """Draws of models with pool examples, and the same of models with test examples."""
        generator = numpy_generator(self.seed, "bootstrap")
        n_models, n = self.is_member.shape
        # One model can only be judged over examples; pairs are drawn together.
        draws = resample(
            n_models,
            n,
            self.n_resamples,
            generator,
            models=n_models > 1,
            models_per_draw=self.models_per_cluster,
        )
        return draws, draws.for_examples(self.test_correct.shape[1], generator)

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

    def tpr_replicates(self, attack: str, slice_name: str, fpr: float) -> npt.NDArray[np.float64]:
        """(B,) share of a slice's members caught at a false-positive rate, in each bootstrap draw.

        Raises:
            NotEnoughDataError: If the slice cannot resolve ``fpr``.
        """
        mask = self.slice(slice_name).mask
        return tpr_replicates(self.scores[attack][:, mask], self.is_member[:, mask], fpr, self.draws.for_slice(mask))

    def leakage(self, attack: str, slice_name: str, fpr: float | None = None) -> Estimate:
        """Area of a slice, or the share of members caught at a false-positive rate, with what each trial adds.

        Raises:
            NotEnoughDataError: If the slice cannot resolve ``fpr``.
        """
        scores, mask = self.scores[attack], self.slice(slice_name).mask
        if fpr is None:
            return auc_estimate(scores, self.is_member, mask)
        return tpr_estimate(scores, self.is_member, fpr, mask)

    @cached_property
    def accuracy(self) -> Estimate:
        """Test accuracy over all models, with what each answer adds."""
        return mean_estimate(self.test_correct)

    @cached_property
    def _strongest(self) -> dict[str, str]:
        return {}

    def strongest(self, slice_name: str) -> str:
        """Attack with the largest area on a slice."""
        if slice_name not in self._strongest:
            self._strongest[slice_name] = max(self.scores, key=lambda attack: self.auc(attack, slice_name))
        return self._strongest[slice_name]

    def plain(self, task: Task) -> dict[str, Any]:
        """JSON-ready accuracy, slices, risk of single examples, groups that leak more, and bound on epsilon."""
        parts = {part.name: self._slice(part) for part in self.slices if part.mask.any()}
        name = self.strongest(self.slices[0].name)
        return {
            "accuracy": self._accuracy(task),
            "slices": parts,
            "exposed": exposed(self.scores[name], self.is_member, self.slices, task),
            "risk": risk(name, self.scores[name], self.is_member, self.slices[0]),
            "groups": groups(name, self.scores[name], self.is_member, self.slices[0], self.groups),
        }

    def _accuracy(self, task: Task) -> dict[str, Any]:
        ordinary = self.is_member.copy()
        ordinary[:, task.canaries] = False
        train = float(self.train_correct[ordinary].mean())
        return {
            "test": plain_interval(self._share(self.accuracy, self.test_correct.size)) | {"n": self.test_correct.size},
            "train": {"value": train, "n": int(ordinary.sum())},
            "gap": train - self.accuracy.value,
        }

    def _share(self, estimate: Estimate, n: int | None = None) -> Interval:
        return share_interval(estimate, n, models_per_cluster=self.models_per_cluster, level=LEVEL)

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
        flat = self.scores[name][:, part.mask].ravel(), self.is_member[:, part.mask].ravel()
        curve = roc(*flat)
        chosen = _thin(curve.fpr, curve.tpr)
        return {
            "auc": plain_interval(self._share(self.leakage(name, part.name))),
            "tpr": [{"fpr": fpr} | self._rate(name, part, fpr) for fpr in FPRS],
            "roc": {"fpr": curve.fpr[chosen].tolist(), "tpr": curve.tpr[chosen].tolist()},
        }

    def _rate(self, name: str, part: Slice, fpr: float) -> dict[str, Any]:
        """A rate with its interval, or why it is refused and what it would take."""
        scores, member = self.scores[name][:, part.mask], self.is_member[:, part.mask]
        try:
            rate = tpr_at_fpr(scores.ravel(), member.ravel(), fpr)
        except NotEnoughDataError as refusal:
            return {"refused": str(refusal), "to_measure": non_members_to_measure(fpr, RELATIVE_ERROR)}
        found = self._share(self.leakage(name, part.name, fpr), rate.n)
        return asdict(rate) | {
            "low": found.low,
            "high": found.high,
            "method": found.method,
            "note": "; ".join(filter(None, [found.note, _few_accused(scores, member, fpr)])),
        }


def measure(
    bank: Bank,
    scores: Mapping[str, npt.NDArray[np.float64]],
    task: Task,
    seed: int,
    n_resamples: int = 500,
) -> Measurement:
    """Judge a bank's scores.

    Args:
        bank: Signals of R models.
        scores: By attack, (R, N).
        task: Membership, canaries, labels, groups.
        seed: Of the bootstrap; defenses measured under one seed can be compared in pairs.
        n_resamples: Bootstrap draws, made when replicates are asked for.
    """
    canary = np.zeros(task.membership.shape[1], dtype=bool)
    canary[task.canaries] = True
    return Measurement(
        scores,
        task.membership,
        (Slice("population", ~canary), Slice("canaries", canary)) if canary.any() else (Slice("population", ~canary),),
        (task if task.groups else task.grouped({})).groups,
        bank.test.correct[..., 0].astype(np.float64),
        bank.pool.correct[..., 0].astype(np.float64),
        seed,
        n_resamples,
    )


def plain_interval(interval: Interval) -> dict[str, Any]:
    """JSON-ready; null where there is no number."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(interval).items()}


def _few_accused(scores: npt.NDArray[np.float64], member: Bools, fpr: float) -> str:
    """What to know where the accused non-members are the same few examples in many models."""
    limit = np.sort(scores[~member])[-1 - int(fpr * np.count_nonzero(~member) * (1 + 1e-9))] if fpr < 1 else -np.inf
    n_examples = int(((scores > limit) & ~member).any(axis=0).sum())
    if len(scores) == 1 or n_examples >= FEW_ACCUSED:
        return ""
    return f"the non-members accused are {n_examples} examples; the interval may be too short"


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
