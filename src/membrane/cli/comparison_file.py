"""A comparison file: settings, methods with their strengths, how to search; every mistake at once."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from membrane.attacks import Attack
from membrane.cli.config import read_toml, typed
from membrane.cli.function import load_function
from membrane.cli.parts import (
    attacks_of,
    data_of,
    labelled,
    oddities,
    sizes_of,
    store_of,
    table_of,
    too_long,
    training_of,
    unknown,
)
from membrane.core.errors import SettingError, collected, raise_all
from membrane.core.settings import build
from membrane.pptp import DEFENSES
from membrane.training import Defense, Recipe
from membrane.training.engines import Engine, InProcess, engine_of
from membrane.training.fleet import TrainFunction
from membrane.verbs.comparison import Method, Range, Search, Setting, Tuned
from membrane.verbs.comparison.tuned import PREFIX

KEYS = ("title", "seed", "seeds", "settings", "methods", "attacks", "search", "engine", "informed", "store")
SETTING_KEYS = ("data", "model", "recipe", "audit")
_MOST_STRENGTHS = 100  # of one line


@dataclass(frozen=True)
class Compared:
    """A comparison file, checked.

    Args:
        settings: By name.
        methods: The baseline first.
        attacks: None for all that can be fed.
        search: How strengths are searched.
        seed: The first.
        seeds: How often everything is repeated.
        informed: Whether attackers give what was chosen for a target to their references.
        title: Heading of the page.
        engine: Where models are trained.
        store: Folder or URL where finished models lie; the comparison's own if not given.
    """

    settings: Mapping[str, Setting]
    methods: tuple[Method, ...]
    attacks: tuple[Attack, ...] | None = None
    search: Search = field(default_factory=Search)
    seed: int = 0
    seeds: int = 1
    informed: bool = True
    title: str = "Defenses compared"
    engine: Engine = field(default_factory=InProcess)
    store: str | None = None


def read_comparison(path: str | Path) -> Compared:
    """Comparison from a TOML file; paths in it count from its folder.

    Raises:
        SettingError: If the file is missing or no TOML, or listing all that is wrong in it.
    """
    return comparison_from(read_toml(Path(path)), Path(path).parent)


def comparison_from(plain: Mapping[str, Any], folder: Path) -> Compared:
    """Comparison from plain settings, as TOML or JSON hold them.

    Args:
        plain: By the names in ``KEYS``.
        folder: Where relative paths and modules start.

    Raises:
        SettingError: Listing all that is wrong.
    """
    raise_all(oddities(plain))
    found = unknown(plain, KEYS)
    title = typed(plain, "title", str, "text", "Defenses compared", found)
    seed = typed(plain, "seed", int, "a whole number", 0, found)
    seeds = typed(plain, "seeds", int, "a whole number", 1, found)
    informed = plain.get("informed", True)
    if not isinstance(informed, bool):
        found.append(f"informed is {informed!r}; it must be true or false.")
    settings = _settings(plain.get("settings"), folder, found)
    methods = _methods(plain.get("methods"), folder, found)
    attacks = attacks_of(plain["attacks"], found) if "attacks" in plain else None
    search, engine = Search(), typing.cast(Engine, InProcess())
    with collected(found):
        search = build(Search, table_of(plain, "search"), "search")
    with collected(found):
        engine = engine_of(plain.get("engine", engine))
    store = store_of(plain["store"], folder, found) if "store" in plain else None
    raise_all(found)
    return Compared(settings, methods, attacks, search, seed, seeds, bool(informed), title, engine, store)


def _settings(plain: Any, folder: Path, found: list[str]) -> dict[str, Setting]:  # noqa: ANN401 -- whatever a file holds
    if not isinstance(plain, Mapping) or not plain or not all(isinstance(one, Mapping) for one in plain.values()):
        found.append(f"settings is {plain!r}; write a table for each, such as [settings.digits] with data and model.")
        return {}
    made = {}
    for name, one in plain.items():
        wrong = unknown(one, SETTING_KEYS, "there is no")
        data = data_of(one, folder, wrong)
        known = {key: value for key, value in one.items() if key in SETTING_KEYS}
        recipe, _ = training_of(known, folder, wrong)
        sizes = sizes_of(known, wrong)
        found += [f"settings.{name}: {mistake}" for mistake in wrong]
        if data is not None and recipe is not None:
            made[name] = Setting(recipe, data, sizes)
    return made


def _methods(plain: Any, folder: Path, found: list[str]) -> tuple[Method, ...]:  # noqa: ANN401 -- whatever a file holds
    """Methods in order; lines of one label make one."""
    if not isinstance(plain, list) or not plain:
        found.append(f'methods is {plain!r}; give a list such as [{{ name = "undefended" }}], the baseline first.')
        return ()
    made: dict[str, Method] = {}
    for i, one in enumerate(plain, 1):
        with collected(found, f"methods, number {i}: "):
            method = _method(one, folder)
            made[method.label] = _together(made[method.label], method) if method.label in made else method
    return tuple(made.values())


def _together(first: Method, second: Method) -> Method:
    if first.searched and second.searched:
        raise SettingError(f"a second line of {first.label!r} has ranges; put them into one, or give it another label.")
    return Method(
        first.label,
        (*first.strengths, *second.strengths),
        first.searched or second.searched,
        first.ranges or second.ranges,
    )


def _method(plain: Any, folder: Path) -> Method:  # noqa: ANN401 -- whatever a file holds
    label, rest = labelled(plain)
    if isinstance(rest, Mapping) and "train" in rest:
        raise_all(
            f"train is your whole pipeline, so {key} would change nothing; remove it." for key in rest if key != "train"
        )
        function: TrainFunction = load_function(rest["train"], folder)
        return Method(label or str(getattr(function, "__name__", "train")), (function,))
    settings = {"name": rest} if isinstance(rest, str) else rest
    name = settings.get("name") if isinstance(settings, Mapping) else None
    if not isinstance(name, str):
        raise SettingError(
            f'this is {plain!r}; give a name or a table such as {{ name = "short_schedule", epochs = [6, 12] }}.'
        )
    kind = DEFENSES.entry(name)
    hints = typing.get_type_hints(kind) | _of_recipe(typing.get_type_hints(Recipe))
    ranges, swept, fixed = {}, {}, {}
    own = {key: value for key, value in settings.items() if key != "recipe"}
    for key, value in (own | _of_recipe(table_of(settings, "recipe"))).items():
        if isinstance(value, Mapping) and "low" in value:
            ranges[key] = build(Range, value, f"defense {name!r}: {key}")
        elif isinstance(value, list) and not _takes_lists(hints.get(key)):
            swept[key] = value
        else:
            fixed[key] = value
    if ranges and swept:
        raise SettingError(f"{', '.join(swept)} is a list and {', '.join(ranges)} a range; search both, or list both.")
    if ranges:
        return Method(label or name, (), _strength(fixed), ranges)
    return Method(label or name, _every(name, fixed, swept))


def _of_recipe(named: Mapping[str, Any]) -> dict[str, Any]:
    """By the names that settings of a recipe have among those of a defense."""
    return {f"{PREFIX}{name}": value for name, value in named.items()}


def _strength(settings: Mapping[str, Any]) -> Defense | Tuned:
    """A defense, with its changes to the recipe if it has any; mistakes in both at once."""
    changes = {key.removeprefix(PREFIX): value for key, value in settings.items() if key.startswith(PREFIX)}
    defense, tuned, found = Defense(), Tuned(Defense()), list[str]()
    with collected(found):
        defense = DEFENSES.make({key: value for key, value in settings.items() if not key.startswith(PREFIX)})
    with collected(found):
        tuned = Tuned(Defense(), changes)
    raise_all(found + too_long(tuned.recipe.get("epochs", 1)))
    return dataclasses.replace(tuned, defense=defense) if changes else defense


def _takes_lists(hint: Any) -> bool:  # noqa: ANN401 -- any annotation
    return any(typing.get_origin(option) is tuple for option in (hint, *typing.get_args(hint)))


def _every(name: str, fixed: Mapping[str, Any], swept: Mapping[str, list[Any]]) -> tuple[Defense | Tuned, ...]:
    """Every combination of what is listed."""
    combinations = list(itertools.islice(itertools.product(*swept.values()), _MOST_STRENGTHS + 1))
    if not combinations:
        raise SettingError(f"defense {name!r}: a list is empty; give at least one value.")
    if len(combinations) > _MOST_STRENGTHS:
        raise SettingError(f"defense {name!r}: its lists make more than {_MOST_STRENGTHS} combinations; give fewer.")
    found: list[str] = []
    made = []
    for values in combinations:
        with collected(found):
            made.append(_strength({**fixed, **dict(zip(swept, values, strict=True))}))
    raise_all(dict.fromkeys(found))
    return tuple(made)
