"""Rounding: probabilities are answered with a few decimals.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820, section
VIII ("coarsen precision of the prediction vector").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from membrane.defenses.ranges import check
from membrane.defenses.rewriting import Rewriting
from membrane.training.defense import Defense, Stage

_ZERO = np.finfo(np.float32).smallest_subnormal.item()  # as ``Answers`` reads a probability of 0


@dataclass(frozen=True)
class Rounding(Defense):
    """Answer with probabilities of ``digits`` decimals.

    Args:
        digits: Decimals, 1 to 15; fewer protect more, and 15 is the undefended baseline in float32.

    Raises:
        SettingError: If ``digits`` lies outside its range.
    """

    name: ClassVar[str] = "rounding"
    source: ClassVar[str] = "Shokri et al. 2017, arXiv:1610.05820, section VIII"
    strength: ClassVar[str | None] = "digits"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = (
        "attacks on labels; on answers that still differ when rounded; whoever has the weights"
    )
    notes: ClassVar[str] = "of classes that are rounded to the same the first counts as predicted"

    digits: int = 2

    def __post_init__(self) -> None:
        check(self, digits=(1 <= self.digits <= 15, "from 1 to 15"))

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def release(self, model: nn.Module) -> nn.Module:
        return _Rounded(model, self.digits)


class _Rounded(Rewriting):
    def __init__(self, model: nn.Module, digits: int) -> None:
        super().__init__(model)
        self.digits = digits

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        p = torch.softmax(logits.double(), 1)
        return torch.round(p, decimals=self.digits).clamp(min=_ZERO).log().to(logits.dtype)
