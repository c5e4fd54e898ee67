"""Temperature: answers are flattened, their order stays.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820, section
VIII ("increase entropy of the prediction vector"). It is undone by whoever guesses the temperature, and attacks with
references, which went through it too, hardly notice it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from torch import Tensor, nn

from membrane.defenses.ranges import check
from membrane.defenses.rewriting import Rewriting
from membrane.training.defense import Defense, Stage


@dataclass(frozen=True)
class Temperature(Defense):
    """Answer with softmax(logits / ``temperature``).

    Args:
        temperature: 1 or more; 1 is the undefended baseline, infinity would be even answers.

    Raises:
        SettingError: If ``temperature`` lies outside its range.
    """

    name: ClassVar[str] = "temperature"
    source: ClassVar[str] = "Shokri et al. 2017, arXiv:1610.05820, section VIII"
    strength: ClassVar[str | None] = "temperature"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = (
        "any attack that knows it and multiplies it back; attacks on labels; who has the weights"
    )

    temperature: float = 5.0

    def __post_init__(self) -> None:
        check(self, temperature=(1 <= self.temperature < inf, "1 or more"))

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def release(self, model: nn.Module) -> nn.Module:
        return _Flattened(model, self.temperature) if self.temperature > 1 else model


class _Flattened(Rewriting):
    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__(model)
        self.temperature = temperature

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        return logits / self.temperature
