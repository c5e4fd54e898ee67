"""Rewind, freeze, refit: risky regions go back to an early stretch of training, one side is frozen, one trained on.

Source: Fang and Kim 2026, arXiv:2603.13186 (CWRF), whose principle this is: rewind what is risky, freeze it there, tune
the rest under a defense's loss. Where we differ: theirs are single weights, found by a probing loss whose settings are
not public; ours are regions, and either side may be the one that is trained.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar, Literal

import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples
from membrane.defenses.ranges import check
from membrane.defenses.windows import window_mistakes
from membrane.pptp.plan import Plan
from membrane.regions import copy_state
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.loop import fit
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class RewindRefit(Defense):
    """Release a model whose regions were rewound to a window, refitted on one side of the cut.

    Args:
        regions: Names of the regions that are rewound.
        first: First epoch of the window, from 0.
        last: Last epoch, included.
        side: That is trained: "rest" (the rewound stay where they are, as in CWRF) or "rewound" (they learn anew, the
            rest stays).
        inner: Training-time defense of the refit.
        epochs: Of the refit.
        lr: Its peak learning rate, warm-up and cosine as in the recipe.

    Raises:
        SettingError: Listing every setting that does not fit; in training, if a region does not exist.
    """

    name: ClassVar[str] = "rewind_refit"
    source: ClassVar[str] = "Fang and Kim 2026, arXiv:2603.13186 (CWRF), on regions instead of weights"
    strength: ClassVar[str | None] = "epochs"
    acts_on: ClassVar[Stage] = "release"
    extra_data: ClassVar[str] = "what inner needs"
    does_not_stop: ClassVar[str] = "what the side that is trained remembers; whoever holds the trail"
    notes: ClassVar[str] = "fewer epochs protect more; regions, where its source has single weights"

    regions: tuple[str, ...] = ()
    first: int = 2
    last: int = 5
    side: Literal["rest", "rewound"] = "rest"
    inner: Defense = field(default_factory=Defense)
    epochs: int = 8
    lr: float = 0.05

    def __post_init__(self) -> None:
        check(
            self,
            regions=(bool(self.regions), "the names of one region or more"),
            first=(0 <= self.first <= self.last, "0 or more, and at most last"),
            side=(self.side in ("rest", "rewound"), "'rest' or 'rewound'"),
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0"),
        )
        if self.inner.overrides("trained_as", "finish", "release") or self.inner.trains_on_holdout:
            raise SettingError(
                f"rewind_refit cannot train with {self.inner.name!r}, which acts after training or uses the holdout."
            )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the window, and those of the inner defense."""
        found = window_mistakes(self.name, recipe, self.first, self.last)
        return found + self.inner.mistakes(recipe, n_members, n_holdout)

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of the inner defense."""
        return self.inner.data_mistakes(recipe, members, holdout)

    def trained_as(self) -> Defense:
        """Plain training: the refit is a second one, after it."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The refitted model."""
        start = time.perf_counter()
        cut = trained.regions
        cut.keys(self.regions)  # that they exist
        plan = Plan.same(self.regions, self.first, self.last)
        state = plan.state(copy_state(trained.model), trained.trail, cut)
        rest = tuple(name for name in cut.names if name not in self.regions)
        recipe = trained.recipe.again(self.epochs, self.lr, self.inner)
        recipe = replace(recipe, trainable=rest if self.side == "rest" else self.regions)
        begin = copy_state(trained.edited(state))
        done = fit(recipe, trained.members, trained.holdout, spawn_seed(generator), begin=begin)
        return Finished(done.model, {"rewound": list(self.regions), "seconds": time.perf_counter() - start})
