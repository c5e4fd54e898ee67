"""Locate: which regions of a trained model carry membership risk, and which carry generalization."""

from __future__ import annotations

from torch import nn

from membrane.core.generators import numpy_generator, torch_generator
from membrane.core.progress import Progress, silent
from membrane.data import refuse_overlap
from membrane.data.loader import Augment
from membrane.pptp import Probe, RiskMap, mix_response
from membrane.regions import Trail
from membrane.verbs.examples import ExamplesLike, as_classified


def locate(
    model: nn.Module,
    trail: Trail,
    members: ExamplesLike,
    holdout: ExamplesLike,
    *,
    window: tuple[int, int] | None = None,
    seed: int = 0,
    augment: Augment | None = None,
    progress: Progress = silent,
) -> RiskMap:
    """Risk map of a trained model, with intervals, a permuted null and equal-count controls.

    Args:
        model: The trained model; not changed.
        trail: Its history.
        members: Its training set, as in ``protect``.
        holdout: Data that were not trained on.
        window: Early epochs that regions are moved to, first and last; chosen from the trail if not given.
        seed: Of everything that is drawn.
        augment: What training did to its inputs, as in ``protect``.
        progress: Told of each measured edit.

    Raises:
        NotEnoughDataError: If members or holdout are fewer than 500.
        DataError: If they do not fit, or share inputs.
        SettingError: If the trail is too short or the window was not kept.
    """
    training_set = as_classified(model, members, "members")
    kept_out = as_classified(model, holdout, "holdout")
    refuse_overlap({"members": training_set, "holdout": kept_out})
    trail.check(model)
    probe = Probe(model, trail, training_set, kept_out, torch_generator(seed, "probe"), augment)
    risk_map, _ = mix_response(
        probe, numpy_generator(seed, "locate"), window, torch_generator(seed, "controls"), progress
    )
    return risk_map
