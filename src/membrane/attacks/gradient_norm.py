"""Gradient norm: members' losses are flat, so they pull at the weights less than strangers.

Source: Nasr, Shokri and Houmansadr 2019, arXiv:1812.00910, where the norm alone already tells members from others; as a
score, Sablayrolles et al. 2019, arXiv:1908.11229, and Watson et al. 2022, arXiv:2111.08440 (for calibration with
reference models, make it the base of ``calibration``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from membrane.attacks.attack import Attack, Scores
from membrane.core.errors import SettingError
from membrane.core.values import Observation
from membrane.readings import Gradients, Reading, Reveals
from membrane.readings.gradients import log_norms

Where = Literal["weights", "input"]


@dataclass(frozen=True)
class GradientNorm(Attack):
    """Minus the log of the norm of the loss's gradient with respect to the weights, or to the input.

    Args:
        of: "weights", all of them; or "input".

    Raises:
        SettingError: If ``of`` is neither.
    """

    name: ClassVar[str] = "gradient_norm"
    threat_model: ClassVar[Reveals] = "weights"
    source: ClassVar[str] = "Nasr et al. 2019, arXiv:1812.00910 (norm alone)"
    examples_apart: ClassVar[bool] = True
    by_default: ClassVar[bool] = False

    of: Where = "weights"

    def __post_init__(self) -> None:
        if self.of not in get_args(Where):
            raise SettingError(f"of is {self.of!r}; it must be one of {', '.join(get_args(Where))}.")

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Gradients(),)

    def score(self, seen: Observation) -> Scores:
        norms = seen.target[Gradients().key].astype(np.float64)
        norm = norms[:, 0] if self.of == "input" else np.sqrt(np.square(norms[:, 1:]).sum(axis=1))
        return -log_norms(norm)
