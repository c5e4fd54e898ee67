"""The parts of a run file, one function each; what is wrong with a part goes into ``found`` and the rest is read on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from membrane.attacks import ATTACKS, Attack
from membrane.cli.function import load_function
from membrane.core.catalogue import Catalogue
from membrane.core.errors import SettingError, collected, raise_all
from membrane.core.settings import build, did_you_mean
from membrane.core.store import Store, is_url
from membrane.data import CANARIES, SOURCES, Source
from membrane.models import MLP, MODELS, Model
from membrane.pptp import DEFENSES
from membrane.training import RECIPES, Defense, Recipe
from membrane.training.fleet import TrainFunction
from membrane.verbs.sizes import Sizes

T = TypeVar("T")

RECIPE_FIELDS = tuple(one.name for one in dataclasses.fields(Recipe) if one.name not in ("model", "defense"))
_DEEPEST, _LONGEST, _MOST_EPOCHS = 12, 4096, 10_000


def oddities(settings: Mapping[str, Any]) -> list[str]:
    """Values that no run file holds and that could not even be shown in a message."""
    waiting: list[tuple[Any, int]] = [(settings, 0)]
    found = set()
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            found.add(f"settings are nested more than {_DEEPEST} deep.")
        elif isinstance(value, Mapping | list):
            waiting += [(item, depth + 1) for item in (value.values() if isinstance(value, Mapping) else value)]
            waiting += [(key, depth + 1) for key in value] if isinstance(value, Mapping) else []
        elif isinstance(value, int) and abs(value) >= 2**63:
            found.add("a whole number is larger than 64 bits hold.")
        elif isinstance(value, str) and len(value) > _LONGEST:
            found.add(f"a text is {len(value):,} characters long; at most {_LONGEST:,} are read.")
        elif isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
            found.add("a text holds half of a surrogate pair, which is no character.")
    return sorted(found)


def unknown(plain: Iterable[str], known: Sequence[str], where: str = "there is no setting") -> list[str]:
    """A sentence for each name that is not known, with the nearest that is."""
    return [
        f"{where} {name!r}. {did_you_mean(name, known)}There are: {', '.join(known)}."
        for name in plain
        if name not in known
    ]


def table_of(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The table under ``key``, empty if there is none.

    Raises:
        SettingError: If it is something else.
    """
    value = settings.get(key, {})
    if isinstance(value, Mapping):
        return value
    raise SettingError(f"{key} is {value!r}; it must be a table of settings, such as {key} = {{ ... }}.")


def _entry(catalogue: Catalogue[T], settings: Any, where: str) -> T:  # noqa: ANN401 -- whatever a file holds
    if isinstance(settings, str | Mapping):
        return catalogue.make(settings)
    first = next(iter(catalogue))
    raise SettingError(f'{where} is {settings!r}; give a name or a table such as {{ name = "{first}" }}.')


def data_of(settings: Mapping[str, Any], folder: Path, found: list[str]) -> Source | None:
    """The data source, its path made absolute; None if there is none that can be used."""
    if "data" not in settings:
        found.append('data is missing; write data = { name = "digits" }, say.')
        return None
    plain = _with_paths(settings["data"], folder)
    source = None
    with collected(found):
        source = _entry(SOURCES, plain, "data")
    if source is not None:
        found += [f"data: {mistake} Paths count from the run file's folder." for mistake in source.missing()]
    return source


def _with_paths(plain: Any, folder: Path) -> Any:  # noqa: ANN401 -- whatever a file holds
    """A data source's settings with its paths, and those of a source inside it, made absolute."""
    name = plain.get("name") if isinstance(plain, Mapping) else None
    if not isinstance(name, str) or name not in SOURCES:
        return plain
    paths = SOURCES.entry(name).paths
    return {
        key: _absolute(value, folder) if key in paths else _with_paths(value, folder) for key, value in plain.items()
    }


def _absolute(value: Any, folder: Path) -> Any:  # noqa: ANN401 -- whatever a file holds
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    return str((folder / value).absolute()) if isinstance(value, str) else value


def training_of(
    settings: Mapping[str, Any], folder: Path, found: list[str]
) -> tuple[Recipe | None, TrainFunction | None]:
    """How to train: a recipe or the user's function; neither if what is there cannot be used."""
    if "train" in settings:
        found += [
            f"train is your whole pipeline, so {key} would change nothing; remove one of the two."
            for key in ("model", "recipe", "defenses")
            if key in settings
        ]
        function = None
        with collected(found, "train: "):
            function = load_function(settings["train"], folder)
        return None, function
    recipe = None
    plain: Mapping[str, Any] = {}
    with collected(found):
        plain = _with_start(table_of(settings, "recipe"), folder)
    model: Model | None = None if "name" in plain else MLP()  # a recipe with a name has one
    if "model" not in settings and model is not None:
        found.append('model is missing; write model = { name = "mlp" }, or train = "my_module:train" for your loop.')
    with collected(found):
        model = _entry(MODELS, settings["model"], "model") if "model" in settings else model
    with collected(found):
        recipe = _recipe(plain, model)
    return recipe, None


def _with_start(plain: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    return {**plain, "start": _absolute(plain["start"], folder)} if "start" in plain else plain


def _recipe(plain: Mapping[str, Any], model: Model | None) -> Recipe:
    """The recipe that is named, else a plain one, with these settings instead of its own."""
    found = [
        f"recipe has no setting {name!r}. {did_you_mean(name, RECIPE_FIELDS)}It has: {', '.join(RECIPE_FIELDS)}."
        for name in plain
        if name not in (*RECIPE_FIELDS, "name")
    ]
    recipe = Recipe()
    with collected(found):
        known = {name: value for name, value in plain.items() if name in RECIPE_FIELDS}
        known |= {} if model is None else {"model": model}
        recipe = build(_recipe_class(plain), known, "recipe")
    raise_all(found + too_long(recipe.epochs))
    return recipe


def too_long(epochs: int) -> list[str]:
    """What is wrong with a number of epochs that nobody waits for."""
    return [f"recipe: epochs is {epochs}; at most {_MOST_EPOCHS:,} are trained."] if epochs > _MOST_EPOCHS else []


def _recipe_class(plain: Mapping[str, Any]) -> type[Recipe]:
    if "name" not in plain:
        return Recipe
    if not isinstance(plain["name"], str):
        raise SettingError(f"recipe: name is {plain['name']!r}; `membrane list recipes` shows those that there are.")
    return RECIPES.entry(plain["name"])


def sizes_of(settings: Mapping[str, Any], found: list[str]) -> Sizes:
    """How much is trained and measured."""
    sizes = Sizes()
    with collected(found):
        plain = dict(table_of(settings, "audit"))
        if isinstance(plain.get("canary_kind"), Mapping):
            plain["canary_kind"] = CANARIES.make(plain["canary_kind"])
        sizes = build(Sizes, plain, "audit")
    return sizes  # noqa: RET504 -- where building it fails, the one from above


def defenses_of(settings: Any, found: list[str]) -> dict[str, Defense]:  # noqa: ANN401 -- whatever a file holds
    """Defenses by label, the baseline first."""
    if not isinstance(settings, list) or not settings:
        found.append(f'defenses is {settings!r}; give a list such as [{{ name = "undefended" }}], the baseline first.')
        return {}
    made: dict[str, Defense] = {}
    for i, plain in enumerate(settings, 1):
        with collected(found, f"defenses, number {i}: "):
            label, rest = labelled(plain)
            defense = _entry(DEFENSES, rest, "this")
            label = defense.name if label is None else label
            if label in made:
                raise SettingError(f"a second one is called {label!r}; give it a label of its own.")
            made[label] = defense
    return made


def labelled(plain: Any) -> tuple[str | None, Any]:  # noqa: ANN401 -- whatever a file holds
    """Label, if there is one, and the settings without it."""
    if not isinstance(plain, Mapping) or "label" not in plain:
        return None, plain
    label = plain["label"]
    if not isinstance(label, str) or not label.strip() or not label.isprintable() or len(label) > 60:
        raise SettingError(f"label is {label!r}; it must be a printable text of 1 to 60 characters.")
    return label, {key: value for key, value in plain.items() if key != "label"}


def attacks_of(settings: Any, found: list[str]) -> tuple[Attack, ...]:  # noqa: ANN401 -- whatever a file holds
    """Attacks, each named once."""
    if not isinstance(settings, list) or not settings:
        found.append(f'attacks is {settings!r}; give a list such as ["loss"], or leave it out for all that fit.')
        return ()
    made = []
    for i, plain in enumerate(settings, 1):
        with collected(found, f"attacks, number {i}: "):
            made.append(_entry(ATTACKS, plain, "this"))
    found += [f"attacks: {name!r} is listed more than once." for name in _repeated(attack.name for attack in made)]
    return tuple(made)


def store_of(named: Any, folder: Path, found: list[str]) -> str | None:  # noqa: ANN401 -- whatever a file holds
    """Folder, its path made absolute, or URL of the store; None if what is there cannot be used."""
    if not isinstance(named, str) or not named.strip() or not named.isprintable():
        found.append(f'store is {named!r}; give a folder, or a URL such as "s3://bucket/prefix".')
        return None
    place = named if is_url(named) else str((folder / named).absolute())
    with collected(found, "store: "):
        Store(place)
    return place


def _repeated(names: Iterable[str]) -> list[str]:
    seen = list(names)
    return [name for name in dict.fromkeys(seen) if seen.count(name) > 1]
