"""Choose a plan: measure a bounded number of candidates, then the least leakage that the budget allows.

The search is the same whatever the budget, so one search serves every budget: it starts from the contiguous
sets that locating measured, then tries the windows of the sets that look best, then shares of the final weights,
then single regions joining or leaving. It never looks at the confirming half of the holdout. What is shown to that half
is the frontier, least leakage first: a plan that only luck made feasible gives way to the next more careful one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from membrane.core.errors import SettingError
from membrane.core.progress import Progress, silent
from membrane.metrics import mean_replicates, resample
from membrane.pptp.locators.judge import N_RESAMPLES
from membrane.pptp.plan import Plan, Stretch
from membrane.pptp.probe import Measured, Probe
from membrane.pptp.risk_map import Spread

KEEPS = (0.15, 0.3, 0.5, 0.7)  # besides 0 and 1, which are the ends
BARRIER = 0.05  # a mix this much worse than both of its ends lies on a barrier
N_ENDS = 8  # window ends that are tried
CONFIRMATIONS = 8  # plans that may be shown to the confirming half


@dataclass(frozen=True)
class Budget:
    """What protection may cost.

    Args:
        max_accuracy_drop: Largest fall of accuracy against the unedited model, a fraction; may be negative to ask
            for a gain.
    """

    max_accuracy_drop: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.max_accuracy_drop <= 1:
            raise SettingError(
                f"max_accuracy_drop is {self.max_accuracy_drop}; it is a fraction: 0.01 means one point of accuracy."
            )


@dataclass(frozen=True)
class Choice:
    """The chosen plan and why.

    Args:
        plan: What to release; empty if nothing was feasible.
        applied: Whether the plan changes anything.
        reason: One sentence.
        accuracy_change: Against the unedited model on the confirming half, paired.
        leakage_before: AUC of minus the loss on the probe, unedited.
        leakage_after: The same under the plan. Optimistic: the plan was chosen for it.
        n_candidates: Plans measured.
        seconds: What searching and confirming cost.
    """

    plan: Plan
    applied: bool
    reason: str
    accuracy_change: Spread
    leakage_before: float
    leakage_after: float
    n_candidates: int
    seconds: float


class Search:
    """Candidates measured so far, and the next ones worth measuring.

    What locating measured (every contiguous set at one window) is where the search begins.

    Args:
        probe: Measures.
        measured: What locating measured already.
        max_candidates: Plans measured besides those of locating; a count, not seconds, so that a busy machine
            gives the same plan.
    """

    def __init__(self, probe: Probe, measured: dict[Plan, Measured], max_candidates: int) -> None:
        self.probe = probe
        self.measured = dict(measured)
        self.max_candidates = len(measured) + max_candidates
        self._names = probe.partition.names
        self._seconds = 0.0

    def run(self, progress: Progress = silent) -> None:
        """Measure candidates stage by stage until the count is used up."""
        start = time.perf_counter()
        self._run(progress)
        self._seconds += time.perf_counter() - start

    def _run(self, progress: Progress) -> None:
        for stage in (self._windows, self._keeps, self._neighbours):
            for plan in stage():  # lazily: what is measured decides what comes next
                if len(self.measured) >= self.max_candidates:
                    return
                self._measure(plan)
                progress("choose", len(self.measured), self.max_candidates)

    def frontier(self) -> list[Plan]:
        """Plans that no other one beats on both accuracy and leakage, least leakage first."""
        best, frontier = -1.0, []
        for plan in sorted(self.measured, key=lambda p: (self.measured[p].leakage, -self.measured[p].accuracy)):
            if self.measured[plan].accuracy > best:
                best = self.measured[plan].accuracy
                frontier.append(plan)
        return frontier

    def choose(self, budget: Budget, generator: np.random.Generator) -> Choice:
        """The least leaking plan within the budget on the searching half, confirmed on the other."""
        start = time.perf_counter()
        base = self.probe.unedited
        floor = base.accuracy - budget.max_accuracy_drop
        feasible = [
            plan
            for plan in self.frontier()
            if plan.stretches and self.measured[plan].accuracy >= floor and self.measured[plan].leakage < base.leakage
        ]
        shown = _evenly(feasible, CONFIRMATIONS)
        before = self.probe.confirm_correct(None)
        for tried, plan in enumerate(shown, 1):
            after = self.probe.confirm_correct(self._state(plan))
            change = _paired(before, after, generator)
            if change.value >= -budget.max_accuracy_drop:
                reason = f"least leakage within the budget; confirmed at try {tried} of at most {len(shown)}."
                return self._choice(plan, reason, change, start)
        reason = (
            f"none of {len(shown)} plans along the frontier kept the accuracy on the confirming half; "
            if shown
            else "no measured plan lowers leakage within the budget; "
        ) + "the model is returned unchanged. Allow a larger max_accuracy_drop or train with more snapshots."
        return self._choice(Plan(), reason, Spread(0.0, 0.0, 0.0), start)

    def _choice(self, plan: Plan, reason: str, change: Spread, start: float) -> Choice:
        return Choice(
            plan,
            bool(plan.stretches),
            reason,
            change,
            self.probe.unedited.leakage,
            self.measured[plan].leakage if plan.stretches else self.probe.unedited.leakage,
            len(self.measured),
            self._seconds + time.perf_counter() - start,
        )

    def _measure(self, plan: Plan) -> Measured:
        if plan not in self.measured:
            self.measured[plan] = self.probe.measure(self._state(plan))
        return self.measured[plan]

    def _state(self, plan: Plan) -> dict[str, Tensor]:
        return plan.state(self.probe.final, self.probe.trail, self.probe.partition)

    def _best_sets(self, n: int) -> list[tuple[str, ...]]:
        """Sets whose plans lie nearest the ideal corner: much leakage removed for little accuracy."""
        base = self.measured[Plan()]

        def worth(plan: Plan) -> float:
            m = self.measured[plan]
            return (base.leakage - m.leakage) - 2 * max(base.accuracy - m.accuracy, 0.0)

        sets: list[tuple[str, ...]] = []
        for plan in sorted((p for p in self.measured if p.stretches), key=worth, reverse=True):
            if plan.regions not in sets:
                sets.append(plan.regions)
        return sets[:n]

    def _windows(self) -> Iterator[Plan]:
        """Other windows for the best sets, ending at a few epochs between the second and the last."""
        by_end: dict[int, list[tuple[int, int]]] = {}
        for window in self.probe.trail.windows:
            if window[1] >= 1 and window[1] / 4 <= window[0] <= 2 * window[1] / 3:
                by_end.setdefault(window[1], []).append(window)
        # For each end the start nearest to 40 % of the way; then, for the best set alone, the second nearest.
        ranked = [sorted(by_end[end], key=lambda w: abs(w[0] - 0.4 * w[1])) for end in _spaced(sorted(by_end))]
        for depth, n_sets in ((0, 2), (1, 1)):
            for regions in self._best_sets(n_sets):
                yield from (Plan.same(regions, *group[depth]) for group in ranked if depth < len(group))

    def _keeps(self) -> Iterator[Plan]:
        """Shares of the final weights for plans on the frontier, unless a barrier lies on the way."""
        base = self.measured[Plan()].accuracy
        for plan in [p for p in self.frontier() if p.stretches][:4]:
            ends = min(base, self.measured[plan].accuracy)
            for keep in KEEPS:
                mixed = Plan(tuple(replace(stretch, keep=keep) for stretch in plan.stretches))
                yield mixed
                if mixed in self.measured and self.measured[mixed].accuracy < ends - BARRIER:
                    break

    def _neighbours(self) -> Iterator[Plan]:
        """Frontier plans with one region more or less."""
        for plan in [p for p in self.frontier() if p.stretches][:4]:
            for name in self._names:
                if name in plan.regions:
                    rest = tuple(stretch for stretch in plan.stretches if stretch.region != name)
                    yield Plan(rest)
                else:
                    like = plan.stretches[0]
                    more = {s.region: s for s in (*plan.stretches, Stretch(name, like.first, like.last, like.keep))}
                    yield Plan(tuple(more[n] for n in self._names if n in more))


def _spaced(epochs: list[int]) -> list[int]:
    """At most ``N_ENDS`` of the epochs, evenly in the logarithm."""
    if len(epochs) <= N_ENDS:
        return epochs
    wanted = np.geomspace(epochs[0] + 1, epochs[-1] + 1, N_ENDS) - 1
    return sorted({min(epochs, key=lambda e: abs(e - w)) for w in wanted})


def _evenly(plans: list[Plan], n: int) -> list[Plan]:
    """At most ``n`` of the plans, from the first to the last."""
    if len(plans) <= n:
        return plans
    return [plans[i] for i in np.linspace(0, len(plans) - 1, n).round().astype(int)]


def _paired(
    before: np.ndarray[tuple[int], np.dtype[np.bool_]],
    after: np.ndarray[tuple[int], np.dtype[np.bool_]],
    generator: np.random.Generator,
) -> Spread:
    change = after.astype(np.float64) - before
    replicates = mean_replicates(change[None], resample(1, len(change), N_RESAMPLES, generator, models=False))
    return Spread.of(float(change.mean()), replicates)
