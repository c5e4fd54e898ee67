"""Locate: which regions of a trained model carry membership risk, and which carry generalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from membrane.core.generators import torch_generator
from membrane.core.progress import Progress, silent
from membrane.data import refuse_overlap
from membrane.data.loader import Augment
from membrane.pptp import LOCATORS, Locator, Probe, RiskMap, Subject, Twins
from membrane.regions import Trail
from membrane.training import Recipe
from membrane.verbs.examples import ExamplesLike, as_classified


def locate(
    model: nn.Module,
    trail: Trail,
    members: ExamplesLike,
    holdout: ExamplesLike,
    *,
    estimator: str | Mapping[str, Any] | Locator = "mix_response",
    recipe: Recipe | None = None,
    twins: Twins | None = None,
    seed: int = 0,
    augment: Augment | None = None,
    progress: Progress = silent,
) -> RiskMap:
    """Risk map of a trained model: every region's score, with interval and permuted null.

    Args:
        model: The trained model; not changed.
        trail: Its history.
        members: Its training set, as in ``protect``.
        holdout: Data that were not trained on.
        estimator: Name of one, as `membrane list estimators` shows them, a name with settings such as
            ``{"name": "mix_response", "window": (2, 5)}``, or an estimator.
        recipe: How the model was trained, for estimators that train further networks.
        twins: Two networks that differ in some members alone, for twin_swap, if it shall not train them.
        seed: Of everything that is drawn.
        augment: What training did to its inputs, as in ``protect``.
        progress: Told of the work done.

    Raises:
        NotEnoughDataError: If members or holdout are fewer than 500.
        DataError: If they do not fit, or share inputs.
        SettingError: If there is no such estimator, it lacks what it needs, or the trail is too short for it.
    """
    training_set = as_classified(model, members, "members")
    kept_out = as_classified(model, holdout, "holdout")
    refuse_overlap({"members": training_set, "holdout": kept_out})
    trail.check(model)
    probe = Probe(model, trail, training_set, kept_out, torch_generator(seed, "probe"), augment)
    subject = Subject(probe, training_set, recipe, twins)
    chosen = estimator if isinstance(estimator, Locator) else LOCATORS.make(estimator)
    return chosen.locate(subject, torch_generator(seed, "locate"), progress)
