"""Protect a trained model: locate, choose, apply. What a user's own training loop calls at its end."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from membrane.core.errors import SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.settings import fingerprint
from membrane.data.examples import Examples
from membrane.data.loader import Augment, as_inputs
from membrane.pptp.choose import Budget, Choice, Search
from membrane.pptp.locators.mix_response import mix_response
from membrane.pptp.plan import Plan
from membrane.pptp.probe import Probe
from membrane.pptp.risk_map import RiskMap
from membrane.regions import Partition, Trail, copy_state, edited, partition
from membrane.regions.partition import unwrap


@dataclass(frozen=True)
class Protected:
    """A protected model and how it came to be.

    Args:
        model: A copy of the user's model with the plan's weights, evaluation mode. Lower measured leakage, no
            guarantee.
        plan: Which regions release which stretch; reusable on other models of the same architecture.
        choice: What was measured for the plan; None if the plan was given.
        risk_map: Which region carries what; None if the plan was given.
    """

    model: nn.Module
    plan: Plan
    choice: Choice | None
    risk_map: RiskMap | None


def protect(
    model: nn.Module,
    trail: Trail,
    members: Examples,
    holdout: Examples,
    budget: Budget | None = None,
    *,
    seed: int = 0,
    max_candidates: int = 40,
    controls: bool = True,
    augment: Augment | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Protected:
    """Locate the regions that carry membership risk and release them from an early stretch of training.

    Args:
        model: The trained model; not changed. Any module that maps inputs (B, ...) to logits (B, C).
        trail: With a snapshot after every epoch of that training.
        members: The training set, labels as trained, without augmentation; 500 examples or more.
        holdout: Examples that were not trained on and will not be in any audit; 500 or more. They are exposed by
            the choice, so they are not test data any more.
        budget: What protection may cost; by default no accuracy.
        seed: Of sampling, bootstrap and permutations.
        max_candidates: Plans measured besides those of locating; each costs a forward pass over the probe.
        controls: Measure random channels of equal count beside each region, for the risk map.
        augment: What training did to its inputs (B, ...), given a generator too; None if nothing. Normalization
            statistics are recomputed on the like.
        force: Release although this trail has already given a different release.
        progress: Told of each measured candidate.

    Raises:
        NotEnoughDataError: If members or holdout are too few.
        SettingError: If the trail is empty, too short, or of another model.
        ReleaseError: If another plan was released from this trail before.
    """
    if not trail.n_epochs:
        raise SettingError(
            "the trail is empty, and mixing independently trained models is no protection. Train a short run again "
            "from the same start with trail.snapshot() after every epoch."
        )
    trail.check(model)
    generator = torch_generator(seed, "probe")
    probe = Probe(model, trail, members, holdout, generator, augment)
    numbers = numpy_generator(seed, "locate")
    risk_map, measured = mix_response(
        probe, numbers, controls=torch_generator(seed, "controls") if controls else None, progress=progress
    )
    search = Search(probe, measured, max_candidates)
    search.run(progress)
    choice = search.choose(budget or Budget(), numpy_generator(seed, "choose"))
    released = apply_plan(model, trail, members, choice.plan, augment, force=force)
    return Protected(released, choice.plan, choice, risk_map)


def apply_plan(
    model: nn.Module,
    trail: Trail,
    members: Examples,
    plan: Plan,
    augment: Augment | None = None,
    *,
    force: bool = False,
    cut: Partition | None = None,
) -> nn.Module:
    """Copy of the model with the plan's weights and recomputed normalization statistics, evaluation mode.

    Args:
        model: The trained model; not changed.
        trail: Of its training.
        members: Its training set.
        plan: What each region releases.
        augment: What training did to its inputs.
        force: Release although this trail has already given a different release.
        cut: The model's regions, if they were found before.

    Raises:
        SettingError: If the plan names regions or windows that are not there.
        ReleaseError: If another plan was released from this trail before and ``force`` is not set.
    """
    if not plan.stretches:
        return copy.deepcopy(unwrap(model)).eval()
    trail.check(model)
    state = plan.state(copy_state(model), trail, cut or partition(model, as_inputs(members.x[:2])))
    trail.record_release(fingerprint(plan), force=force)
    return edited(model, state, members.x, augment)
