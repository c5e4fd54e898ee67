"""Offline BASE: how much likelier is x's label to the target than to models that never saw x?

Source: Lassila et al. 2025, "Practical Bayes-Optimal Membership Inference Attacks", arXiv:2505.24089, BASE with OUT
models only. Without IN models the mean is too low, most for hard examples, and subtracting all of it overcorrects. The
authors' code scales it by a factor that it tunes on shadow models playing target (1 if untuned); we fix the factor at
0.33, the default of LeakPro's version, tuned on nothing of ours. Temperature, sigmoid and queries as in online BASE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.attack import Attack, Scores, over_queries
from membrane.attacks.lineup import Lineup
from membrane.attacks.references import log_mean_exp
from membrane.core.errors import SettingError
from membrane.core.values import Observation


@dataclass(frozen=True)
class OfflineBASE(Attack):
    """Log-probability of the label, nats, minus a part of the log of its mean over the OUT references.

    Args:
        scale: That part, 0 to 1. 0 is the loss attack; 1 takes the OUT references for all models.

    Raises:
        SettingError: If ``scale`` is outside its range.
    """

    name: ClassVar[str] = "base_offline"
    source: ClassVar[str] = "Lassila et al. 2025, arXiv:2505.24089 (BASE, offline)"
    signals: ClassVar[tuple[str, ...]] = ("loss",)
    min_out_models: ClassVar[int] = 1

    scale: float = 0.33

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= 1:  # written this way round so that NaN is refused too
            raise SettingError(f"scale is {self.scale}; it must be between 0 and 1.")

    def score(self, seen: Observation) -> Scores:
        out = log_mean_exp(-seen.reference.loss, ~seen.in_reference)
        return over_queries(-seen.target.loss - self.scale * out)

    def score_all(self, lineup: Lineup) -> Scores:
        targets = lineup.log_means("loss", "out")
        return np.stack([over_queries(-loss - self.scale * out) for loss, (out,) in targets])
