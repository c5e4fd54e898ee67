"""Online RMIA: offline RMIA with P(x) from models that did and models that did not train on x.

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv:2312.03262, online variant.
Where we differ: as offline, and P(z) always comes from OUT models with the offline conversion, because our population
is in nobody's training set (theirs is in half of the reference models'). Plain means (their code trims 20 % off each
side).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.attacks.lineup import Side
from membrane.attacks.references import Array, log_mixture
from membrane.attacks.rmia_offline import OfflineRMIA


@dataclass(frozen=True)
class RMIA(OfflineRMIA):
    """Share of the population that x beats, P(x) being half its IN references' mean and half its OUT references'.

    Args:
        gamma: As offline.
        a: As offline; here it only converts P(z).

    Raises:
        SettingError: If either is outside its range.
    """

    name: ClassVar[str] = "rmia"
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262 (online)"
    min_in_models: ClassVar[int] = 1
    sides: ClassVar[tuple[Side, ...]] = ("in", "out")

    def log_p(self, *log_means: Array) -> Array:
        log_in, log_out = log_means
        return log_mixture((0.5, log_in), (0.5, log_out))
