"""Attack at one region: what its output, its gradient or the size of its output tells about members.

Source: attacks on each layer's gradients and representations are those of Nasr, Shokri and Houmansadr 2019,
"Comprehensive Privacy Analysis of Deep Learning", arXiv:1812.00910; the size of representations is SRCM's,
arXiv:2407.16164. Where we differ: one number per region is compared with reference models example by example, as LiRA
does (arXiv:2112.03570), so that easy examples do not pass for members, and nothing is trained on known members.

A region's output depends on all the weights before it. Where a leak can be read is not where it is stored: for that
see the estimators of ``locate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from membrane.attacks.on_reading import OnReading
from membrane.core.errors import SettingError
from membrane.core.values import Floats
from membrane.readings import Gradients, Reading, RegionOutputs
from membrane.readings.gradients import log_norms

Of = Literal["readout", "gradient", "magnitude"]


@dataclass(frozen=True)
class Region(OnReading):
    """Another attack, LiRA by default, on one number per example that a region of the network gives.

    Args:
        of: "readout": the label's log-odds by a discriminant on the region's output; "gradient": minus the log of the
            norm of the loss's gradient by the region's weights; "magnitude": the log of the size of its output.
        region: Its position in running order, from 0; or from the end, -1 being the last.
        base: Any attack on the rescaled logit alone; it takes that number for it.

    Raises:
        SettingError: If ``of`` is none of these, ``base`` reads something else, or, when models are there to be seen,
            there is no such region.
    """

    name: ClassVar[str] = "region"
    source: ClassVar[str] = "signals of Nasr et al. 2019, arXiv:1812.00910, region by region; compared as in LiRA"
    by_default: ClassVar[bool] = False

    of: Of = "readout"
    region: int = -1

    def __post_init__(self) -> None:
        if self.of not in get_args(Of):
            raise SettingError(f"of is {self.of!r}; it must be one of {', '.join(get_args(Of))}.")
        super().__post_init__()

    @property
    def reading(self) -> Reading:
        return Gradients() if self.of == "gradient" else RegionOutputs()

    @property
    def kinds_read(self) -> tuple[str, ...]:
        return ("rescaled_logit",)

    def found(self, read: Floats) -> dict[str, Floats]:
        by_region = regions_of(self.of, read)
        n = by_region.shape[-1]
        if not -n <= self.region < n:
            raise SettingError(
                f"region is {self.region}; these models have {n}, from 0 to {n - 1}, or -1 for the last."
            )
        values = by_region[..., [self.region % n]]
        return {"rescaled_logit": _minus_log(values) if self.of == "gradient" else values}


def regions_of(of: Of, read: Floats) -> Floats:
    """(..., N, regions) the columns of a reading that hold one number for each region."""
    if of == "gradient":
        return read[..., 1:]  # the first is the input's
    n = read.shape[-1] // 2
    return read[..., :n] if of == "readout" else read[..., n:]


def _minus_log(norms: Floats) -> Floats:
    """Minus the logs, as exact as the norms are given: sums over examples then do not depend on their order."""
    logs = log_norms(norms)
    return -logs if norms.dtype == np.float64 else -logs.astype(np.float32)
