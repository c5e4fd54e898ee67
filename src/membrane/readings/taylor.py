"""SM-Taylor-softmax: a probability of the label that does not saturate, as RMIA compares it.

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv:2312.03262, and the authors'
code ("taylor-soft-margin"): with T(u) the first n terms of the series of exp, u = z / temperature and m a margin for
the label, P = T(u_y - m) / (T(u_y - m) + the sum of T(u_j) over the other classes). It is 18 queries that they ask.
Where we differ: T of an odd degree falls below 0 on the left (of -1.6 for n = 4), where their P is no probability any
more; ours stays at the least positive number there. It depends on the logits themselves and not on their differences
alone: of answers that come as probabilities it sees the logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError, raise_all
from membrane.data.examples import Examples
from membrane.data.queries import Queries, query_mistakes, ways
from membrane.models import logits_of
from membrane.readings.reading import Reading, Reveals

_LEAST = float(np.finfo(np.float32).tiny)
_ROWS = 4096  # that are worked on in float64 at a time
_MOST_TERMS = 20


@dataclass(frozen=True)
class TaylorSoftmax(Reading):
    """Minus the log of the label's SM-Taylor-softmax probability, nats, 0 or more, members lower; K is the queries.

    Args:
        terms: Of the series, n: 2 to 20. At 4 it is cubic.
        temperature: That divides logits, above 0.
        margin: That the label's logit must be above the others' by, after that; 0 or more.
        queries_by: Ways in which each image is asked for: "identity", "mirror" or "shifts".

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "taylor_softmax"
    threat_model: ClassVar[Reveals] = "scores"

    terms: int = 4
    temperature: float = 2.0
    margin: float = 0.6
    queries_by: Queries = "shifts"

    def __post_init__(self) -> None:
        mistakes = []
        if not 2 <= self.terms <= _MOST_TERMS:
            mistakes.append(f"terms is {self.terms}; it must be 2 to {_MOST_TERMS}.")
        if not 0 < self.temperature < math.inf:  # written this way round so that NaN is refused too
            mistakes.append(f"temperature is {self.temperature}; it must be above 0, and finite.")
        if not 0 <= self.margin < math.inf:
            mistakes.append(f"margin is {self.margin}; it must be 0 or more, and finite.")
        mistakes += query_mistakes(self.queries_by, called="queries_by")
        raise_all(mistakes, SettingError)

    @property
    def queries(self) -> int:
        return len(ways(self.queries_by))

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        return query_mistakes(self.queries_by, pool, "queries_by")

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        found = np.empty((len(examples), self.queries), dtype=np.float32)
        for column, way in enumerate(ways(self.queries_by)):
            logits = logits_of(model, examples, way=way)
            for start in range(0, len(logits), _ROWS):
                rows = slice(start, start + _ROWS)
                found[rows, column] = self.loss(logits[rows].double(), examples.y[rows]).numpy()
        return found

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """(N,) minus the log of P, from logits (N, C) and labels (N,)."""
        u, label = logits / self.temperature, y[:, None]
        own = self.series(u.gather(1, label) - self.margin)
        others = self.series(u).scatter(1, label, 0.0).sum(1, keepdim=True)
        return torch.log1p(others / own)[:, 0]

    def series(self, u: Tensor) -> Tensor:
        """The first terms of the series of exp(u), at least the least positive number."""
        term, total = torch.ones_like(u), torch.ones_like(u)
        for i in range(1, self.terms):
            term = term * u / i
            total = total + term
        return total.clamp_min(_LEAST)
