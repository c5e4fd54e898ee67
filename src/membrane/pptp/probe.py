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
from torch import Tensor, nn

from membrane.core.errors import NotEnoughDataError
from membrane.data.examples import Examples
from membrane.data.loader import Augment, as_inputs
from membrane.metrics import auc
from membrane.models import at_work, logits_of, signals_from_logits, to_work
from membrane.regions import (
    Partition,
    Trail,
    calibration_sample,
    copy_state,
    edited,
    load_state,
    partition,
    recalibrate,
)
from membrane.regions.edit import State

SEARCH_RECALIBRATION = 500  # training examples for normalization statistics during the search
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
        holdout: Non-members; a random half searches, the other half confirms.
        generator: Samples the members and splits the holdout.
        augment: What training did to its inputs; normalization statistics are recomputed on the like.

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
        augment: Augment | None = None,
    ) -> None:
        for what, there in (("members", len(members)), ("holdout examples", len(holdout))):
            if there < FEWEST:
                raise NotEnoughDataError(
                    f"choosing what to protect needs {FEWEST} {what}; there are {there}. "
                    "Give more, or pass a plan that was chosen elsewhere."
                )
        half = len(holdout) // 2
        self.members = members[torch.randperm(len(members), generator=generator)[:half]]
        mixed = torch.randperm(len(holdout), generator=generator)
        self.search, self.confirm = holdout[mixed[:half]], holdout[mixed[half:]]
        self._x, self.augment = members.x, augment
        self._search_x = calibration_sample(members.x, SEARCH_RECALIBRATION)
        self.trail = trail
        self.final = copy_state(model)
        self.partition: Partition = partition(model, as_inputs(holdout.x[:2]))
        self.model = model
        self._work = to_work(copy.deepcopy(model).eval())

    def holding(self, state: State) -> nn.Module:
        """A working model with these weights and statistics as they are, until the probe is asked for another."""
        load_state(self._work, state)
        return self._work

    def measure(self, state: State) -> Measured:
        """Leakage and accuracy of edited weights, normalization statistics recomputed."""
        work = self.holding(state)
        recalibrate(work, self._search_x, augment=self.augment)
        return self._measured(work)

    @cached_property
    def unedited(self) -> Measured:
        """The same of the model as it stands, its own statistics included: what the user would ship otherwise."""
        with at_work(self.model) as model:
            return self._measured(model)

    def confirm_correct(self, state: State | None) -> npt.NDArray[np.bool_]:
        """(K,) bool, right predictions on the confirming half, which no search ever looks at.

        Args:
            state: Edited weights, made into a model exactly as a release is; None for the model as it stands.
        """
        model = self.model if state is None else edited(self.model, state, self._x, self.augment)
        with at_work(model):
            return (logits_of(model, self.confirm).argmax(1) == self.confirm.y).numpy()

    def _measured(self, model: nn.Module) -> Measured:
        logits = logits_of(model, self.search)
        return Measured(
            rescaled_logits(logits_of(model, self.members), self.members),
            rescaled_logits(logits, self.search),
            (logits.argmax(1) == self.search.y).numpy(),
        )


def rescaled_logits(logits: Tensor, examples: Examples) -> npt.NDArray[np.float64]:
    """(N,) rescaled logits of the labels, from logits (N, C)."""
    return signals_from_logits(logits, examples.y).rescaled_logit[:, 0].astype(np.float64)
