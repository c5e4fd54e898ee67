"""What a defense costs, measured: its training over the undefended one, its answers over the undefended network's.

Seconds depend on data, network and machine, so these ratios are an order of magnitude for others, and repeat to about a
tenth. They are written by ``benchmarks/defense_cost.py``, which says how they were taken; the timings behind them lie
in ``results/defense_cost``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

FILE = "costs.json"


@dataclass(frozen=True)
class Cost:
    """Ratios to the undefended network, 1 where nothing is added.

    Args:
        training: Seconds until the model can be released, what is done after training included.
        answering: Seconds of an answer.
        measured_on: Data and network of the measurement.
    """

    training: float
    answering: float
    measured_on: str

    def __str__(self) -> str:
        times = [f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" for ratio in (self.training, self.answering)]
        return f"{times[0]} times the training, {times[1]} times the answer"


def cost_of(name: str) -> Cost | None:
    """What the defense of this name was measured to cost, at the settings of the measurement; None if it was not."""
    measured_on, ratios = _measured()
    return Cost(*ratios[name], measured_on) if name in ratios else None


@functools.cache
def _measured() -> tuple[str, dict[str, tuple[float, float]]]:
    found = json.loads(resources.files(__package__).joinpath(FILE).read_text("utf-8"))
    return found["measured_on"], {name: (one["training"], one["answering"]) for name, one in found["ratios"].items()}
