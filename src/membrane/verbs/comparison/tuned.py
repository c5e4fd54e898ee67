"""A method's own recipe: what one method changes about the way that its setting trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from membrane.core.errors import SettingError, collected, raise_all
from membrane.core.settings import build, did_you_mean
from membrane.training import Defense, Recipe
from membrane.training.fleet import TrainFunction
from membrane.verbs.results import Train

PREFIX = "recipe."  # of the recipe's settings where they stand among a defense's own
_NOT_ITS_OWN = {
    "model": "the network is the setting's, and a method on another network belongs into another setting",
    "start": "what training begins from is the setting's",
    "name": "a recipe is chosen for a setting",
    "compile": "it is about speed, so say it for the whole setting",
    "defense": "the method is the defense",
}
TUNABLE = tuple(one.name for one in dataclasses.fields(Recipe) if one.name not in _NOT_ITS_OWN)
"""What of a recipe a method may change."""


@dataclass(frozen=True)
class Tuned:
    """A defense that is trained otherwise than its setting's recipe says, in a few settings of training.

    Args:
        defense: The defense.
        recipe: By name, values that go before those of the setting's recipe; names are those in ``TUNABLE``.

    Raises:
        SettingError: Listing every name that is unknown or not a method's to change, and every value that does not fit.

    >>> Tuned(Defense(), {"lr": 0.05}).of(Recipe(epochs=8)).lr
    0.05
    """

    defense: Defense
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [
            f"recipe: {name} cannot be changed for a method: {_NOT_ITS_OWN[name]}."
            if name in _NOT_ITS_OWN
            else f"recipe has no setting {name!r}. {did_you_mean(name, TUNABLE)}"
            f"A method can change: {', '.join(TUNABLE)}."
            for name in self.recipe
            if name not in TUNABLE
        ]
        known = {name: value for name, value in self.recipe.items() if name in TUNABLE}
        recipe = Recipe()
        with collected(found):
            recipe = build(Recipe, _beside(known) | known, "recipe")
        raise_all(found)
        object.__setattr__(self, "recipe", {name: getattr(recipe, name) for name in known})  # lists become tuples

    def of(self, recipe: Recipe) -> Recipe:
        """The whole pipeline where a setting trains by ``recipe``.

        Raises:
            SettingError: If the changes do not fit the rest of it.
        """
        return dataclasses.replace(recipe, defense=self.defense, **self.recipe)

    def changed(self, recipe: Recipe) -> dict[str, Any]:
        """What is really other than in ``recipe``, by name."""
        return {name: value for name, value in self.recipe.items() if value != getattr(recipe, name)}

    def mistakes(self, recipe: Recipe) -> list[str]:
        """What stops this where a setting trains by ``recipe``, or would change nothing there."""
        try:
            trained = self.defense.adapt(self.of(recipe))
        except SettingError as wrong:
            return list(wrong.mistakes)
        return [
            f"recipe: {name} is {value}, but {self.defense.name} makes {used} of it; set it in one place."
            for name, value in self.changed(recipe).items()
            if (used := getattr(trained, name)) != value
        ]


def _beside(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What lets ``trainable`` and ``lora`` be looked at one without the other; a setting has the other."""
    free = changes.get("trainable", ()) is None
    return {} if free else {"trainable": ("head",), "lora": 1}


Strength = Defense | Tuned | TrainFunction


def pipeline_of(recipe: Recipe, strength: Strength) -> Train:
    """What is trained at one strength where a setting trains by ``recipe``; a function is the whole pipeline."""
    if isinstance(strength, Tuned):
        return strength.of(recipe)
    return recipe.with_defense(strength) if isinstance(strength, Defense) else strength


def changed(recipe: Recipe, strength: Strength) -> dict[str, Any]:
    """What a strength changes about ``recipe``, by name."""
    return strength.changed(recipe) if isinstance(strength, Tuned) else {}


def with_values(strength: Defense | Tuned, values: Mapping[str, Any]) -> Defense | Tuned:
    """The same with other values, by the names in ``numbers_of``.

    Raises:
        SettingError: Listing all that do not fit.
    """
    base = strength if isinstance(strength, Tuned) else Tuned(strength)
    own = {name: value for name, value in values.items() if not name.startswith(PREFIX)}
    changes = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    made = Tuned(dataclasses.replace(base.defense, **own), {**base.recipe, **changes})
    return made if made.recipe else made.defense


def numbers_of(strength: Defense | Tuned) -> dict[str, type]:
    """Names of all numbers that can be searched, ``int`` or ``float`` each; the recipe's as ``recipe.lr``."""
    defense = strength.defense if isinstance(strength, Tuned) else strength
    own, recipe = get_type_hints(type(defense)), get_type_hints(Recipe)
    every = {one.name: own[one.name] for one in dataclasses.fields(defense)}
    every |= {f"{PREFIX}{name}": recipe[name] for name in TUNABLE}
    return {name: kind for name, kind in every.items() if kind in (int, float)}
