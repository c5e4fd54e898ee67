"""Intervention-matched: protect one region for real, leave the rest, and measure what that removes and what it costs.

The region goes back to an early window and is trained again, all others frozen, on what forks of it that did not see
a member say about that member (out-of-fold targets). Risk is how far the leakage falls; what generalization the
region carries is said twice: how much accuracy moving it back costs, and how much of that the protected training does
not bring back. The second is what a release pays.

Source: protection as in SELENA (Tang et al. 2022, arXiv:2110.08324), restricted to one region; as an estimator, ours.
Hase et al. 2023, arXiv:2301.04213, for why the intervention itself has to be scored: where a fact is traced to does
not say where an edit works best.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.defenses.soft_labels import SoftLabels, out_of_fold
from membrane.pptp.locators.judge import risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.locators.mix_response import Responses, early_window
from membrane.pptp.plan import Plan
from membrane.pptp.risk_map import RiskMap
from membrane.regions import copy_state, edited
from membrane.regions.edit import State
from membrane.training.defense import Defense
from membrane.training.loop import fit
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class Intervention(Locator):
    """Fall of the leakage when a region is rewound and trained again on out-of-fold targets, the rest frozen.

    Args:
        window: Early epochs, first and last, that the region goes back to; chosen from the trail's length if not given.
        folds: Parts of the members, each left out by one fork of the region.
        epochs: That forks and the released region are trained for.
        lr: Peak learning rate; a tenth of the recipe's if not given.
    """

    name: ClassVar[str] = "intervention"
    source: ClassVar[str] = "ours, with the out-of-fold targets of Tang et al. 2022, arXiv:2110.08324"
    kind: ClassVar[Kind] = "causal"
    extra_data: ClassVar[str] = "the recipe: a region is trained folds + 1 times"
    notes: ClassVar[str] = (
        "fall of the AUC; the dearest estimator, and the only one that says what protection would cost"
    )

    window: tuple[int, int] | None = None
    folds: int = 2
    epochs: int = 4
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.folds < 2 or self.epochs < 1 or not (self.lr is None or 0 < self.lr < inf):
            raise SettingError(
                f"intervention: folds is {self.folds}, epochs {self.epochs}, lr {self.lr}; folds must be 2 or more, "
                "epochs 1 or more, lr above 0 or not given."
            )

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map."""
        start = time.perf_counter()
        probe, recipe = subject.probe, subject.trained_by(self.name)
        window = self.window or early_window(probe.trail)
        numbers = np.random.default_rng(spawn_seed(generator))
        responses = Responses(probe.measure(probe.final), numbers)
        rewound, refitted = [], []
        for done, name in enumerate(probe.partition.names, 1):
            state = Plan.same((name,), *window).state(probe.final, probe.trail, probe.partition)
            rewound.append(probe.measure(state))
            refitted.append(probe.measure(self._refit(subject, recipe, name, state, generator)))
            progress("regions refitted", done, len(probe.partition.names))
        return risk_map(
            self.name,
            "AUC",
            probe,
            responses.scores(refitted),
            start,
            window=window,
            accuracy_change=[responses.accuracy_change(one) for one in rewound],
            unrecovered=[responses.accuracy_change(one) for one in refitted],
        )

    def _refit(self, subject: Subject, recipe: Recipe, name: str, state: State, generator: torch.Generator) -> State:
        """Weights with one region trained again from ``state`` on out-of-fold targets."""
        members = subject.members
        begin = copy_state(edited(subject.probe.model, state, members.x, subject.probe.augment))
        part = recipe.again(self.epochs, self.lr or recipe.lr / 10, Defense())
        part = replace(part, trainable=(name,), lora=0, compile=False)
        table = out_of_fold(part, members, self.folds, generator, begin)
        again = replace(part, defense=SoftLabels(table))
        return copy_state(fit(again, members, None, spawn_seed(generator), begin=begin).model)
