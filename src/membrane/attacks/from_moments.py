"""Attacks that compare the target's rescaled logit with means and spreads of its references', IN, OUT or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup, Side, marked
from membrane.attacks.references import Moments
from membrane.core.values import Floats, Observation


@dataclass(frozen=True)
class FromMoments(Attack):
    """Base class: ``compared`` says it all, of one target or of all of them in turn."""

    signals: ClassVar[tuple[str, ...]] = ("rescaled_logit",)
    sides: ClassVar[tuple[Side, ...]] = ("in", "out")  # references whose moments are compared with, in this order

    def score(self, seen: Observation) -> Scores:
        logits = seen.reference.rescaled_logit
        groups = (Moments.of(logits, marked(side, seen.in_reference)) for side in self.sides)
        return self.compared(seen.target.rescaled_logit, *groups)

    def score_all(self, lineup: Lineup) -> Scores:
        targets = lineup.moments("rescaled_logit", *self.sides)
        return np.stack([self.compared(logit, *groups) for logit, groups in targets])

    def compared(self, logit: Floats, *groups: Moments) -> Scores:
        """(N,) scores from the target's rescaled logits (N, Q) and the moments on each of ``sides``."""
        raise NotImplementedError
