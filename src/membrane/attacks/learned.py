"""Attacks that learn what members look like from reference models, whose members are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup
from membrane.attacks.networks import Training, Trials, trained
from membrane.core.generators import torch_generator
from membrane.core.settings import check_ranges
from membrane.core.values import Floats, Ints, Observation, Signals


@dataclass(frozen=True)
class Learned(Attack):
    """Base class of attacks whose score is the log-odds that a network trained on all trials of the references gives.

    A subclass writes ``inputs``, and says whether each class has a network of its own.

    Args:
        hidden: Widths of the hidden layers.
        steps: Of Adam, for each network.
        batch_size: Trials in each.
        lr: Of Adam.
        seed: Of the networks' first weights and batches.

    Raises:
        SettingError: If a setting is outside its range.
    """

    min_in_models: ClassVar[int] = 1
    min_out_models: ClassVar[int] = 1
    trains: ClassVar[str] = "a network for each pair of targets, on what their references answer"
    by_default: ClassVar[bool] = False
    per_class: ClassVar[bool] = False

    hidden: tuple[int, ...] = (64,)
    steps: int = 300
    batch_size: int = 100
    lr: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            hidden=(all(width >= 1 for width in self.hidden), "widths of 1 or more"),
            steps=(self.steps >= 1, "1 or more"),
            batch_size=(self.batch_size >= 1, "1 or more"),
            lr=(0 < self.lr < math.inf, "above 0, and finite"),
        )

    def inputs(self, signals: Signals) -> Floats:
        """(..., N, F) what the networks read of signals and readings (..., N, Q)."""
        raise NotImplementedError

    def score(self, seen: Observation) -> Scores:
        scores: Scores = self._scores(seen, [seen.target])[0]
        return scores

    def score_all(self, lineup: Lineup) -> Scores:
        scores = np.empty(lineup.membership.shape)
        for row in range(0, lineup.n_models, 2):  # the two of a pair have the same references
            seen = lineup.observe(row, self.kinds)
            partner = lineup.observe(row + 1, self.kinds, references=False).target
            scores[row : row + 2] = self._scores(seen, [seen.target, partner])
            lineup.give_back(self.kinds)
        return scores

    def _scores(self, seen: Observation, targets: Sequence[Signals]) -> Scores:
        """(T, N) of targets that have the references of ``seen``."""
        group_of: Ints = seen.labels if self.per_class else np.zeros_like(seen.labels)
        groups = [group_of == group for group in np.unique(group_of)]
        known = self.inputs(seen.reference)  # (R', N, F)
        trials = [Trials(_rows(known[:, one]), seen.in_reference[:, one].ravel()) for one in groups]
        training = Training(self.hidden, self.steps, self.batch_size, self.lr)
        networks = trained(trials, training, torch_generator(self.seed, "attack", self.name))
        scores = np.empty((len(targets), len(group_of)))
        for row, target in zip(scores, targets, strict=True):
            asked = self.inputs(target)
            for place, one in enumerate(groups):
                row[one] = networks.answer(place, asked[one])
        return scores


def _rows(values: Floats) -> Floats:
    """(R', N, F) as (R' N, F)."""
    return values.reshape(-1, values.shape[-1])
