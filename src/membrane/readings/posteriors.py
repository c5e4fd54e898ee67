"""Posteriors: the probabilities of all classes, or of the likeliest, as attacks read them that learn from answers.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820 (all
classes); Salem et al. 2019, "ML-Leaks", arXiv:1806.01246 (the three largest, sorted). Where we differ: their logarithms
are kept, because probabilities of sure answers all round to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from membrane.core.errors import SettingError
from membrane.data.examples import Examples
from membrane.models import log_probabilities, logits_of
from membrane.readings.reading import Reading, Reveals

_ROWS = 4096  # that are worked on in float64 at a time


@dataclass(frozen=True)
class Posteriors(Reading):
    """Log-probabilities, nats, 0 or less: of every class in the order of the classes, or of the likeliest, falling.

    K is the number of classes, or ``top`` if that is less.

    Args:
        top: How many of the likeliest; 0 for all classes in their own order.

    Raises:
        SettingError: If ``top`` is negative.
    """

    name: ClassVar[str] = "posteriors"
    threat_model: ClassVar[Reveals] = "scores"

    top: int = 0

    def __post_init__(self) -> None:
        if self.top < 0:
            raise SettingError(f"top is {self.top}; it must be 1 or more, or 0 for all classes.")

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        logits = logits_of(model, examples)
        k = min(self.top or logits.shape[1], logits.shape[1])
        found = np.empty((len(logits), k), dtype=np.float32)
        for start in range(0, len(logits), _ROWS):
            log_p = log_probabilities(logits[start : start + _ROWS])
            kept = log_p.topk(k).values if self.top else log_p
            found[start : start + _ROWS] = kept.float().numpy()
        return found
