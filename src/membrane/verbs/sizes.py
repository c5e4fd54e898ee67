"""How much is trained and measured, and the task drawn from that: one way for audits, comparisons and releases."""

from __future__ import annotations

from dataclasses import dataclass

from membrane.core.errors import SettingError
from membrane.data import Canary, Queries, Source, Splits, Task, make_task
from membrane.data.examples import Examples
from membrane.verbs.splits import splits_of


@dataclass(frozen=True)
class Sizes:
    """How much an audit trains and measures.

    Args:
        references: Models trained for each defense, even, 4 or more.
        canaries: Canaries planted in the pool.
        holdout: Examples set aside for defenses that must choose something.
        pool: Examples that are audited; all that the train split has left if not given.
        canary_kind: What the canaries are: "mislabelled", "near_duplicate" or "out_of_distribution", or one of these
            with its settings.
        allow_duplicates: Note inputs that occur more than once instead of refusing them.
        near_duplicates: Correlation from which images count as copies; identical inputs alone if not given.
        queries: Ways in which models are asked for each image: "identity", "mirror" or "shifts".
    """

    references: int = 16
    canaries: int = 0
    holdout: int = 0
    pool: int | None = None
    canary_kind: str | Canary = "mislabelled"
    allow_duplicates: bool = False
    near_duplicates: float | None = None
    queries: Queries = "identity"

    def draw(
        self,
        data: Splits | Source | Examples,
        seed: int,
        n_models: int | None = None,
        canaries: int | None = None,
    ) -> Task:
        """Pool, holdout, canaries and membership.

        Args:
            data: Where they are drawn from.
            seed: Decides all draws.
            n_models: Instead of ``references``, even.
            canaries: Instead of as many as are set.

        Raises:
            DataError: If the data are too few or do not fit.
            SettingError: If ``references`` are asked for and no even number from 4, or images must be asked for in
                ways that inputs do not have.
        """
        if n_models is None and (self.references < 4 or self.references % 2):
            raise SettingError(f"references is {self.references}; an audit trains an even number of models, 4 or more.")
        splits = splits_of(data, seed)
        return make_task(
            splits,
            n_models=self.references if n_models is None else n_models,
            pool=len(splits.train) - self.holdout if self.pool is None else self.pool,
            holdout=self.holdout,
            canaries=self.canaries if canaries is None else canaries,
            seed=seed,
            canary_kind=self.canary_kind,
            allow_duplicates=self.allow_duplicates,
            near_duplicates=self.near_duplicates,
        ).asked(self.queries)
