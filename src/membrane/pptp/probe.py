"""The probe: how much an edited model leaks and how well it classifies, measured on data of the choice only.

Members are a sample of the model's own training set; non-members are the holdout. Neither the audited
non-members nor the test set is ever seen here.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from membrane.core.errors import NotEnoughDataError
from membrane.data.examples import Examples
from membrane.data.loader import as_inputs
from membrane.metrics import auc
from membrane.models import logits_of, signals_from_logits
from membrane.regions import Partition, Trail, copy_state, load_state, partition, recalibrate
from membrane.regions.edit import State

FEWEST = 500  # members, and holdout examples: below, the choice is made on noise


@dataclass(frozen=True)
class Measured:
    """One edited model on the data of the choice.

    Args:
        members: (M,) rescaled logits of the sampled members; ranks them as minus the loss does.
        search: (S,) rescaled logits of the searching half of the holdout.
        correct: (S,) bool, right predictions on the same.
    """

    members: npt.NDArray[np.float64]
    search: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]

    @cached_property
    def leakage(self) -> float:
        """AUC of minus the loss, members against holdout; 0.5 is none."""
        scores = np.concatenate([self.members, self.search])
        return auc(scores, np.arange(len(scores)) < len(self.members))

    @cached_property
    def accuracy(self) -> float:
        """Share of the searching half classified rightly."""
        return float(self.correct.mean())


class Probe:
    """Measures edits of one trained model.

    Args:
        model: Final weights; copied, never changed.
        trail: Its history.
        members: Its training set, labels as trained.
        holdout: Non-members; the first half searches, the second half confirms.
        generator: Samples the members.
        n_recalibrate: Training examples for normalization statistics during the search.

    Raises:
        NotEnoughDataError: If members or holdout are fewer than 500.
    """

    def __init__(
        self,
        model: nn.Module,
        trail: Trail,
        members: Examples,
        holdout: Examples,
        generator: torch.Generator,
        n_recalibrate: int = 500,
    ) -> None:
        for what, there in (("members", len(members)), ("holdout examples", len(holdout))):
            if there < FEWEST:
                raise NotEnoughDataError(
                    f"choosing what to protect needs {FEWEST} {what}; there are {there}. "
                    "Give more, or pass a plan that was chosen elsewhere."
                )
        half = len(holdout) // 2
        order = torch.randperm(len(members), generator=generator)
        self.search, self.confirm = holdout[:half], holdout[half:]
        self.members = members[order[:half]]
        self._recalibrate_on = members[order[:n_recalibrate]].x
        self.trail = trail
        self.final = copy_state(model)
        self.partition: Partition = partition(model, as_inputs(holdout.x[:2]))
        self.n_measured = 0
        self._work = copy.deepcopy(model).eval()

    def measure(self, state: State) -> Measured:
        """Leakage and accuracy of edited weights, normalization statistics recomputed."""
        self._load(state)
        logits = logits_of(self._work, self.search)
        return Measured(
            self._rescaled(self.members),
            signals_from_logits(logits, self.search.y).rescaled_logit[:, 0].astype(np.float64),
            (logits.argmax(1) == self.search.y).numpy(),
        )

    def confirm_correct(self, state: State) -> npt.NDArray[np.bool_]:
        """(K,) bool, right predictions on the confirming half, which no search ever looks at."""
        self._load(state)
        return (logits_of(self._work, self.confirm).argmax(1) == self.confirm.y).numpy()

    def _load(self, state: State) -> None:
        self.n_measured += 1
        load_state(self._work, state)
        recalibrate(self._work, self._recalibrate_on)

    def _rescaled(self, examples: Examples) -> npt.NDArray[np.float64]:
        signals = signals_from_logits(logits_of(self._work, examples), examples.y)
        return signals.rescaled_logit[:, 0].astype(np.float64)
