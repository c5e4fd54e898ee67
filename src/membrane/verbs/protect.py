"""Protect: the three-line path for somebody else's training loop."""

from __future__ import annotations

from torch import nn

from membrane.core.errors import SettingError
from membrane.core.progress import Progress, silent
from membrane.data import refuse_overlap
from membrane.data.loader import Augment
from membrane.pptp import Budget, Plan, Protected, apply_plan
from membrane.pptp.protect import protect as choose_and_apply
from membrane.regions import Trail
from membrane.verbs.examples import ExamplesLike, as_classified


def protect(
    model: nn.Module,
    trail: Trail,
    members: ExamplesLike,
    holdout: ExamplesLike | None = None,
    budget: Budget | None = None,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    max_candidates: int = 40,
    augment: Augment | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Protected:
    """A copy of a trained model that releases its risky regions from an early stretch of training.

    Args:
        model: The trained model, any module from inputs (B, ...) to logits (B, C); not changed.
        trail: ``membrane.Trail(model)``, with ``snapshot()`` called after every epoch.
        members: The training set without augmentation, labels as trained: a dataset of (input, label), a pair of
            arrays, or examples. 500 or more.
        holdout: Data that were not trained on, 500 or more, in the same form. They are exposed by the choice.
        budget: What protection may cost; by default no holdout accuracy.
        plan: Apply this plan instead of choosing one; needs no holdout.
        seed: Of everything that is drawn.
        max_candidates: Plans measured besides those of locating.
        augment: ``augment(x, generator)``, what your loop does to inputs (B, ...), pixels in [0, 1], before the model
            sees them. BatchNorm's statistics are recomputed on the like; without it a model trained with augmentation
            loses accuracy, which the risk map then flags.
        force: Release although the trail has already given a different release.
        progress: Told of each measured plan.

    Raises:
        NotEnoughDataError: If members or holdout are too few.
        DataError: If they do not fit, or share inputs.
        SettingError: If there is neither holdout nor plan, or the trail does not fit.
        ReleaseError: If the trail has already given a different release.
    """
    training_set = as_classified(model, members, "members")
    if plan is not None:
        return Protected(apply_plan(model, trail, training_set, plan, augment, force=force), plan, None, None)
    if holdout is None:
        raise SettingError(
            "choosing what to protect needs a holdout: 500 or more examples that were not trained on. "
            "Without one, pass a plan that was chosen on another model of this architecture."
        )
    kept_out = as_classified(model, holdout, "holdout")
    refuse_overlap({"members": training_set, "holdout": kept_out})
    return choose_and_apply(
        model,
        trail,
        training_set,
        kept_out,
        budget,
        seed=seed,
        max_candidates=max_candidates,
        augment=augment,
        force=force,
        progress=progress,
    )
