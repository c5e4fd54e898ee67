"""PPTP as a defense: it acts after training, so it composes with any training-time defense.

Source: Fang and Kim 2026, "Decoupling Generalizability and Membership Privacy Risks in Neural Networks",
arXiv:2602.02296. Only the abstract is public to us: that generalization and membership risk lie in
different regions, and that the principle is to protect the risky ones. Where they lie is measured here
for each model, and how they are protected (each region releases its own stretch of its training history)
is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from membrane.core.errors import SettingError
from membrane.core.generators import spawn_seed, torch_generator
from membrane.core.settings import to_plain
from membrane.data.examples import Examples
from membrane.defenses.windows import window_mistakes
from membrane.pptp.choose import Budget
from membrane.pptp.plan import Plan
from membrane.pptp.probe import FEWEST
from membrane.pptp.protect import apply_plan, protect
from membrane.regions import copy_state, mix, random_channels
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class PPTP(Defense):
    """Release risky regions from an early stretch of training, chosen for each model by measurement.

    Args:
        max_accuracy_drop: Largest fall of holdout accuracy, a fraction; larger protects more.
        max_candidates: Plans measured besides those of locating.
        controls: Measure equal-count random channels for the risk map, too.
        base: Training-time defense to build on; plain training by default.
    """

    name: ClassVar[str] = "pptp"
    source: ClassVar[str] = "Fang and Kim 2026, arXiv:2602.02296 (principle); mechanism ours"
    strength: ClassVar[str | None] = "max_accuracy_drop"
    acts_on: ClassVar[Stage] = "release"
    extra_data: ClassVar[str] = "holdout: 500 non-members or more, to choose on"
    does_not_stop: ClassVar[str] = (
        "whoever holds the trail or two releases of one training: both give the final weights"
    )
    notes: ClassVar[str] = "only the abstract of the paper was public to us; on `base` it acts on top of any training"
    reading: ClassVar[bool] = True

    max_accuracy_drop: float = 0.0
    max_candidates: int = 40
    controls: bool = False
    base: Defense = field(default_factory=Defense)

    def __post_init__(self) -> None:
        Budget(self.max_accuracy_drop)
        if self.max_candidates < 0:
            raise SettingError(f"pptp: max_candidates is {self.max_candidates}; it must be 0 or more.")
        if self.base.overrides("finish", "release"):
            raise SettingError(
                f"pptp cannot stand on {self.base.name!r}, which also acts after training. Use a training-time defense."
            )
        if self.base.trains_on_holdout:
            raise SettingError(
                f"pptp cannot stand on {self.base.name!r}: it trains on the holdout, which pptp takes for non-members."
            )

    def adapt(self, recipe: Recipe) -> Recipe:
        """What the base defense makes of the recipe."""
        return self.base.adapt(recipe)

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether there is enough to choose on, and enough history to choose from."""
        found = self.base.mistakes(recipe, n_members, n_holdout)
        for what, there in (("members", n_members), ("holdout examples", n_holdout)):
            if there < FEWEST:
                found.append(f"pptp chooses on {FEWEST} {what} or more; there are {there}.")
        if self.base.adapt(recipe).n_epochs < 3:
            found.append("pptp needs 3 epochs of history or more.")
        return found

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of the base defense."""
        return self.base.data_mistakes(recipe, members, holdout)

    def trained_as(self) -> Defense:
        """The base defense: PPTP itself does not touch training."""
        return self.base.trained_as()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """Locate, choose, apply; the plan, the choice and the risk map are among the facts."""
        if trained.holdout is None:
            raise SettingError("pptp chooses on a holdout, and none was set aside. Set holdout to 500 or more.")
        protected = protect(
            trained.model,
            trained.trail,
            trained.members,
            trained.holdout,
            Budget(self.max_accuracy_drop),
            seed=spawn_seed(generator),
            max_candidates=self.max_candidates,
            controls=self.controls,
            augment=trained.augment,
            force=True,  # a reference model leaves nobody's hands
        )
        assert protected.choice is not None
        assert protected.risk_map is not None
        choice = to_plain(protected.choice)
        return Finished(protected.model, {"choice": choice, "risk_map": protected.risk_map.plain()})

    def as_chosen(self, facts: Mapping[str, Any]) -> Defense:
        """The plan that was chosen for one model; without one, the base."""
        plan = Plan.from_plain(facts["choice"]["plan"])
        return FrozenPlan(plan, self.base) if facts["choice"]["applied"] else self.base


@dataclass(frozen=True)
class FrozenPlan(Defense):
    """Apply one plan that was chosen elsewhere, to every model alike.

    Args:
        plan: Chosen on a pilot model or on public data. Needs no holdout.
        base: Training-time defense to build on.
    """

    name: ClassVar[str] = "frozen_plan"
    source: ClassVar[str] = PPTP.source
    strength: ClassVar[str | None] = None
    acts_on: ClassVar[Stage] = "release"
    does_not_stop: ClassVar[str] = PPTP.does_not_stop
    notes: ClassVar[str] = "the plan must come from a pilot or from public data; chosen on these members, it leaks"
    reading: ClassVar[bool] = True

    plan: Plan = field(default_factory=Plan)
    base: Defense = field(default_factory=Defense)

    def adapt(self, recipe: Recipe) -> Recipe:
        """What the base defense makes of the recipe."""
        return self.base.adapt(recipe)

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the plan's windows."""
        found = self.base.mistakes(recipe, n_members, n_holdout)
        adapted = self.base.adapt(recipe)
        windows = {(stretch.first, stretch.last) for stretch in self.plan.stretches}
        return found + [mistake for w in sorted(windows) for mistake in window_mistakes(self.name, adapted, *w)]

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of the base defense."""
        return self.base.data_mistakes(recipe, members, holdout)

    def trained_as(self) -> Defense:
        """The base defense."""
        return self.base.trained_as()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The edited model."""
        model = apply_plan(
            trained.model, trained.trail, trained.members, self.plan, trained.augment, force=True, cut=trained.regions
        )
        return Finished(model, {"plan": to_plain(self.plan)})


@dataclass(frozen=True)
class RegionWindow(Defense):
    """A control: move a set of regions, its complement, or as many random channels, to one window.

    Claims about *where* risk lives need the same edit elsewhere: on all regions, on the inverse set, and on
    random channels of the same number of parameters.

    Args:
        regions: The set; empty for all regions.
        first: First epoch of the window, from 0.
        last: Last epoch, included.
        keep: Share of the final weights.
        where: "chosen" (the set), "inverse" (all others), or "random" (random channels of every layer holding
            as many parameters as the set).
    """

    name: ClassVar[str] = "region_window"
    source: ClassVar[str] = "control; see Hase et al. 2023, arXiv:2301.04213, on localization and editing"
    strength: ClassVar[str | None] = "last"
    acts_on: ClassVar[Stage] = "release"
    does_not_stop: ClassVar[str] = PPTP.does_not_stop
    notes: ClassVar[str] = "a control for claims about where risk lies, not a defense to ship"

    regions: tuple[str, ...] = ()
    first: int = 2
    last: int = 5
    keep: float = 0.0
    where: Literal["chosen", "inverse", "random"] = "chosen"

    def __post_init__(self) -> None:
        Plan.same(("any",), self.first, self.last, self.keep)

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the trail will hold the window."""
        return window_mistakes(self.name, recipe, self.first, self.last)

    def trained_as(self) -> Defense:
        """Plain training."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The edited model."""
        cut = trained.regions
        chosen = self.regions or cut.names
        if self.where != "random":
            inverse = tuple(name for name in cut.names if name not in chosen)
            plan = Plan.same(inverse if self.where == "inverse" else chosen, self.first, self.last, self.keep)
            return FrozenPlan(plan).finish(trained, generator)
        final = copy_state(trained.model)
        masks = random_channels(final, cut.share(chosen), torch_generator(spawn_seed(generator), "channels"))
        keep = {key: mask.clamp(min=self.keep) for key, mask in masks.items()}
        state = mix(final, trained.trail.window(self.first, self.last), keep, keep.keys())
        return Finished(trained.edited(state), {"share": cut.share(chosen)})
