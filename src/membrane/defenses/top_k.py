"""Top k: only the likeliest classes are answered with their probabilities.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820, section
VIII ("restrict the prediction vector to top k classes"). What is left over is shown as spread evenly over the other
classes, which is what a user who is told k of them can say about the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

from membrane.defenses.ranges import check
from membrane.defenses.rewriting import Rewriting
from membrane.training.defense import Defense, Stage


@dataclass(frozen=True)
class TopK(Defense):
    """Answer with the ``k`` largest probabilities, the others evened out.

    Args:
        k: Classes that keep their own, 1 or more; fewer protect more. All but one of the classes, or more, is the
            undefended baseline.

    Raises:
        SettingError: If ``k`` is below 1.
    """

    name: ClassVar[str] = "top_k"
    source: ClassVar[str] = "Shokri et al. 2017, arXiv:1610.05820, section VIII"
    strength: ClassVar[str | None] = "k"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = "attacks on the loss of what is predicted rightly: it stays; whoever has the weights"
    notes: ClassVar[str] = "the rest of the probability is shown evenly spread; of equal classes the first counts"

    k: int = 3

    def __post_init__(self) -> None:
        check(self, k=(self.k >= 1, "1 or more"))

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def release(self, model: nn.Module) -> nn.Module:
        return _Cut(model, self.k)


class _Cut(Rewriting):
    def __init__(self, model: nn.Module, k: int) -> None:
        super().__init__(model)
        self.k = k

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        n_rest = logits.shape[1] - self.k
        if n_rest <= 1:
            return logits
        order = logits.argsort(dim=1, descending=True, stable=True)
        rest = order[:, self.k :]
        even = torch.logsumexp(logits.gather(1, rest), 1, keepdim=True) - log(n_rest)
        return logits.scatter(1, rest, even.expand(-1, n_rest))
