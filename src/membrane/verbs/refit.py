"""Refit: the released model of somebody else's training loop learns its members from forks that did not see them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from membrane.core.device import working_on
from membrane.core.errors import raise_all
from membrane.core.generators import torch_generator
from membrane.core.settings import fingerprint
from membrane.models.given import GivenNetwork
from membrane.models.signals import device_of
from membrane.pptp import OutOfFoldRefit
from membrane.regions import Trail
from membrane.regions.partition import unwrap
from membrane.training import Recipe, Trained
from membrane.verbs.examples import ExamplesLike, as_classified


@dataclass(frozen=True)
class Refitted:
    """A refitted model and how it came to be.

    Args:
        model: A copy of the user's model with new weights, evaluation mode. Lower measured leakage, no guarantee.
        out_of_fold_accuracy: Share of the members that the forks which did not see them call by their label, 0 to 1.
            Well above test accuracy, the forks knew members after all: fork more regions, or from an earlier window.
        seconds: That it took.
    """

    model: nn.Module
    out_of_fold_accuracy: float
    seconds: float


def refit(
    model: nn.Module,
    trail: Trail,
    members: ExamplesLike,
    how: OutOfFoldRefit,
    *,
    batch_size: int = 128,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    augment: bool = False,
    seed: int = 0,
    force: bool = False,
) -> Refitted:
    """A copy of a trained model that is trained again, on what forks of it that did not see a member say about it.

    Needs no holdout, and no loop: forks and released model are trained here, on the model's device, by SGD with
    Nesterov momentum, a warm-up over the first epoch and a cosine to zero. Costs about ``folds`` times ``fork_epochs``
    plus ``epochs`` passes.

    Args:
        model: The trained model, any module from inputs (B, ...) to logits (B, C); not changed.
        trail: ``membrane.Trail(model)``, with ``snapshot()`` called after every epoch.
        members: The training set without augmentation, labels as trained: a dataset of (input, label), a pair of
            arrays, or examples.
        how: Which regions the forks differ in, which window all begin from, how long and at which rates they train.
        batch_size: Of forks and released model, 2 or more.
        momentum: 0 to below 1.
        weight_decay: L2 coefficient of the forks, and of the released model where ``how`` has none of its own.
        augment: Whether they see images flipped and cropped at random, as your loop does.
        seed: Of folds, order and augmentation; the caller's secret, for who knows the folds knows more.
        force: Release although the trail has already given a different release.

    Raises:
        DataError: If the members do not fit.
        SettingError: If a setting, a region or the trail does not fit.
        ReleaseError: If the trail has already given a different release.
        TrainingError: If a training diverges.
    """
    training_set = as_classified(model, members, "members")
    trail.check(model)
    device, own = device_of(model), copy.deepcopy(unwrap(model)).cpu()
    recipe = Recipe(
        model=GivenNetwork(own),
        epochs=trail.n_epochs,
        batch_size=batch_size,
        momentum=momentum,
        weight_decay=weight_decay,
        augment=augment,
        keep=None,  # which windows were kept is the trail's to say
    )
    trained = Trained(own, trail, training_set, None, 0.0, recipe)
    trained.regions.keys(how.forked)
    raise_all(how.mistakes(recipe, len(training_set), 0))
    trail.window(how.first, how.last)  # refuses what was not kept
    before = trail.released
    trail.record_release(fingerprint(how), force=force)  # refuses before anything is trained
    try:
        with working_on(device):
            done = how.finish(trained, torch_generator(seed, "refit"))
    except BaseException:
        trail.released = before
        raise
    return Refitted(done.model.to(device).eval(), done.facts["out_of_fold_accuracy"], done.facts["seconds"])
