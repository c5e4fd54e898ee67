"""The one way from edited weights to a model: copy, load, recompute normalization statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from membrane.core.generators import torch_generator
from membrane.data.inputs import Inputs
from membrane.data.loader import Augment
from membrane.models.at_work import at_work
from membrane.regions.edit import State, load_state
from membrane.regions.partition import unwrap
from membrane.regions.recalibrate import needs_recalibration, recalibrate

RECALIBRATION = 2000  # training examples that the statistics of a released model are recomputed on


def calibration_sample(x: Inputs, n: int = RECALIBRATION) -> Tensor:
    """``n`` of the training inputs in an order that depends on their number alone.

    A smaller sample is the beginning of a larger one. Random, because data sets often come sorted by class, and
    statistics of one class are no statistics.
    """
    order = torch.randperm(len(x), generator=torch_generator(0, "recalibrate"))
    return x[order[:n]]


def edited(model: nn.Module, state: State, x: Inputs, augment: Augment | None = None) -> nn.Module:
    """Copy of ``model`` with other weights and statistics recomputed on a sample of ``x``, evaluation mode.

    Args:
        model: Not changed; of a wrapped one (DDP, torch.compile) the user's own module is copied.
        state: All of its weights and buffers.
        x: Training inputs (N, ...) without augmentation.
        augment: What training did to them.
    """
    other = copy.deepcopy(unwrap(model))
    load_state(other, state)
    if needs_recalibration(other):
        with at_work(other):
            recalibrate(other, calibration_sample(x), augment=augment)
    return other.eval()
