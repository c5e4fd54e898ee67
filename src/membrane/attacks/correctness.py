"""Correctness: members are classified rightly more often. What the generalization gap alone gives away.

Source: Yeom et al. 2018, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
arXiv:1709.01604, the attack that calls whatever is classified rightly a member; the gap attack of label-only papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.core.values import Observation
from membrane.readings import Reveals


@dataclass(frozen=True)
class Correctness(Attack):
    """Share of queries that the target classifies rightly; needs nothing but its decisions.

    With one query the area under the ROC is 1/2 + (train accuracy - test accuracy) / 2, and no threshold accuses fewer
    non-members than the target classifies rightly. Every stronger attack should beat it.
    """

    name: ClassVar[str] = "correctness"
    threat_model: ClassVar[Reveals] = "labels"
    source: ClassVar[str] = "Yeom et al. 2018, arXiv:1709.01604 (gap attack)"
    signals: ClassVar[tuple[str, ...]] = ("correct",)

    def score(self, seen: Observation) -> Scores:
        return over_queries(seen.target.correct)
