"""Two defenses, one on the other: answers of a model that some defense has trained, rewritten by a second one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import nn

from membrane.core.errors import SettingError
from membrane.data.examples import Examples
from membrane.defenses.rounding import Rounding
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class Stacked(Defense):
    """Train and finish as ``base`` says, then rewrite the answers as ``answers`` says.

    Args:
        base: Any defense; it shares its training with the model that is released without ``answers``.
        answers: A defense that only rewrites answers: rounding, top_k, temperature, memguard, hamp_output, purifier.

    Raises:
        SettingError: If ``answers`` does something else, or needs non-members that ``base`` trains on.
    """

    name: ClassVar[str] = "stacked"
    source: ClassVar[str] = "composition; each part has its own"
    acts_on: ClassVar[Stage] = "both"
    extra_data: ClassVar[str] = "what its parts need, holdout included"
    rewrites_answers: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = "attacks on labels, and whoever has the weights, beyond what the base stops"
    notes: ClassVar[str] = "audit it as a whole: what two defenses stop does not add up"

    base: Defense = field(default_factory=Defense)
    answers: Defense = field(default_factory=Rounding)

    def __post_init__(self) -> None:
        if not self.answers.rewrites_answers or self.answers.trained_as() != Defense():
            raise SettingError(
                f"stacked: answers is {self.answers.name!r}, which does more than rewrite answers, or does not. Take "
                "rounding, top_k, temperature, memguard, hamp_output or purifier."
            )
        if self.base.trained_as().trains_on_holdout and "holdout" in self.answers.extra_data:
            raise SettingError(
                f"stacked: {self.base.name!r} trains on the holdout, which {self.answers.name!r} takes for non-members."
            )

    def adapt(self, recipe: Recipe) -> Recipe:
        """What the base makes of the recipe."""
        return self.base.adapt(recipe)

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Those of both."""
        return [fault for part in self._parts for fault in part.mistakes(recipe, n_members, n_holdout)]

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Those of both."""
        return [fault for part in self._parts for fault in part.data_mistakes(recipe, members, holdout)]

    def trained_as(self) -> Defense:
        """As the base is."""
        return self.base.trained_as()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """Both, one after the other; the second sees the answers of what the first hands out."""
        first = self.base.finish(trained, generator)
        shown = replace(trained, model=self.base.release(first.model))
        second = self.answers.finish(shown, generator)
        return Finished(second.model, {**first.facts, **second.facts})

    def release(self, model: nn.Module) -> nn.Module:
        return self.answers.release(model)

    @property
    def _parts(self) -> tuple[Defense, Defense]:
        return self.base, self.answers
