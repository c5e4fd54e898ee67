"""What a model that answers with labels alone says: the one thing that readings on labels ask."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError
from membrane.models.signals import device_of, evaluating, forward

_NUMBERS = 1 << 20  # of inputs that are asked at a time
_MOST = 4096  # inputs at a time


def labels_of(model: nn.Module, x: Tensor) -> Tensor:
    """(N,) int64 on the CPU, the classes that a model calls network inputs (N, ...).

    Raises:
        ModelError: If the model does not answer each with its own logits.
    """
    device = device_of(model)
    labels = torch.empty(len(x), dtype=torch.int64)
    step = max(1, min(_MOST, _NUMBERS // max(1, math.prod(x.shape[1:]))))
    with evaluating(model):
        for start in range(0, len(x), step):
            asked = x[start : start + step]
            answers = forward(model, asked.to(device))
            if not isinstance(answers, Tensor) or answers.ndim != 2 or len(answers) != len(asked):
                raise ModelError(f"the model gave no logits (inputs, classes) for {len(asked)} inputs.")
            labels[start : start + step] = answers.argmax(1).cpu()
    return labels
