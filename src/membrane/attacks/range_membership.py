"""Range membership: was anything near x trained on? An attack's scores of many queries, trimmed and averaged.

Source: Tao and Shokri 2024, "Range Membership Inference Attacks", arXiv:2408.05131: score points of a range about x one
by one, drop the extreme ones, average the rest. Where we differ: the range is the bank's queries, so it holds no more
than they do; their samplers (imputed columns, distances, transformations beyond the queries) would need further
signals. How much to drop they choose by the kind of range; our default, the lowest four of ten, is that of LeakPro's
version for images. The scores averaged are RMIA's, as theirs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.attacks.lineup import Lineup
from membrane.attacks.on_attacks import OnAttacks
from membrane.attacks.rmia_offline import OfflineRMIA
from membrane.core.errors import SettingError
from membrane.core.values import Observation, Signals


@dataclass(frozen=True)
class RangeMembership(OnAttacks):
    """Mean of an attack's scores of single queries, without the lowest and the highest.

    With one query, and nothing to trim, it is that attack. Holds R x N x Q scores while it attacks a whole bank.

    Args:
        base: Any attack on scores.
        drop_lowest: Share of the queries dropped below, rounded down; 0 to 1.
        drop_highest: Share dropped above, likewise; the two together below 1.

    Raises:
        SettingError: If ``base`` is no attack on scores, or the shares leave nothing.
    """

    name: ClassVar[str] = "range"
    source: ClassVar[str] = "Tao & Shokri 2024, arXiv:2408.05131 (RaMIA over queries)"
    by_default: ClassVar[bool] = False

    base: Attack = field(default_factory=OfflineRMIA)
    drop_lowest: float = 0.4
    drop_highest: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        # Written this way round so that NaN is refused too.
        if not (self.drop_lowest >= 0 and self.drop_highest >= 0 and self.drop_lowest + self.drop_highest < 1):
            raise SettingError(
                f"drop_lowest is {self.drop_lowest} and drop_highest {self.drop_highest}; they must be 0 or more, and "
                "together below 1."
            )

    @property
    def parts(self) -> tuple[Attack]:
        return (self.base,)

    def score(self, seen: Observation) -> Scores:
        return self._trimmed([self.base.score(_observed(seen, q)) for q in range(seen.target.shape[1])])

    def score_all(self, lineup: Lineup) -> Scores:
        pool, population = lineup.pool, lineup.population
        return self._trimmed(
            [
                self.base.score_all(dataclasses.replace(lineup, pool=_query(pool, q), population=_query(population, q)))
                for q in range(pool.shape[2])
            ]
        )

    def _trimmed(self, scores: list[Scores]) -> Scores:
        n = len(scores)
        rising = np.sort(scores, axis=0)
        kept: Scores = rising[int(n * self.drop_lowest) : n - int(n * self.drop_highest)].mean(axis=0)
        return kept


def _observed(seen: Observation, q: int) -> Observation:
    """What is seen of one query."""
    return dataclasses.replace(
        seen,
        target=_query(seen.target, q),
        reference=_query(seen.reference, q),
        population=_query(seen.population, q),
        population_reference=_query(seen.population_reference, q),
    )


def _query(signals: Signals, q: int) -> Signals:
    """One query's signals; readings are of the example, whatever the query."""
    return Signals.of({kind: values[..., q : q + 1] for kind, values in signals.arrays().items()}, signals.readings)
