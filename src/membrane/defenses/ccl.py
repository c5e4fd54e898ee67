"""Convex-concave loss: a concave term spreads the losses of what is known well, without gradient ascent.

Source: Liu et al. 2024, "Mitigating Privacy Risk in Membership Inference by Convex-Concave Loss", ICML 2024,
arXiv:2402.05453, and the authors' code: CCEL with the exponential, CCQL with the quadratic concave term. Their runs
have alpha 0.5 and beta 0.05 at learning rate 0.1 for 300 epochs; beta scales the learning rate (weight decay aside),
and is 1 here, so that shorter schedules are not merely under-trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from membrane.data.loader import Batch
from membrane.defenses.ranges import check
from membrane.training.defense import Defense


@dataclass(frozen=True)
class CCL(Defense):
    """``beta`` (``alpha`` CE - (1 - ``alpha``) concave(p_y)), concave(p) = exp(p) or p + p^2 / 2.

    Args:
        alpha: Share of the cross-entropy, above 0, at most 1; less protects more, 1 is the undefended baseline.
        beta: Scale of the loss, above 0.
        form: "exponential" (CCEL) or "quadratic" (CCQL).

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "ccl"
    source: ClassVar[str] = "Liu et al. 2024, arXiv:2402.05453"
    strength: ClassVar[str | None] = "alpha"
    does_not_stop: ClassVar[str] = "not tested by its source on worst cases; audit with references before relying on it"
    notes: ClassVar[str] = "CCEL (exponential) or CCQL (quadratic); beta 1 where the authors' runs have 0.05"

    alpha: float = 0.5
    beta: float = 1.0
    form: Literal["exponential", "quadratic"] = "exponential"

    def __post_init__(self) -> None:
        check(
            self,
            alpha=(0 < self.alpha <= 1, "a share above 0, at most 1"),
            beta=(0 < self.beta < inf, "above 0"),
            form=(self.form in ("exponential", "quadratic"), "'exponential' or 'quadratic'"),
        )

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        convex = F.cross_entropy(logits, batch.y, reduction="none")
        if self.alpha == 1:
            return self.beta * convex
        p = (-convex).exp()  # (B,), of the label
        concave = p.exp() if self.form == "exponential" else p + p.square() / 2
        return self.beta * (self.alpha * convex - (1 - self.alpha) * concave)
