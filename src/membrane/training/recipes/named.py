"""What a recipe in the catalogue says of itself beyond its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class NamedRecipe(Recipe):
    """A recipe under a name, which is no part of the training key: equal settings train, and reuse, equal weights."""

    name: ClassVar[str]
    source: ClassVar[str]
    made_for: ClassVar[str]  # network and data
    measured: ClassVar[str]  # with it, and where; or that nothing was
