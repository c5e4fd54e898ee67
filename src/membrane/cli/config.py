"""A run file: data, training and defenses to compare, read with every mistake at once and nothing trained before."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from membrane.attacks import Attack
from membrane.cli.parts import attacks_of, data_of, defenses_of, oddities, sizes_of, store_of, training_of, unknown
from membrane.core.errors import SettingError, collected, raise_all
from membrane.core.settings import to_plain
from membrane.data import Source
from membrane.training import Defense, Recipe
from membrane.training.engines import Engine, InProcess, engine_of
from membrane.training.fleet import TrainFunction
from membrane.verbs.sizes import Sizes

T = TypeVar("T")

KEYS = ("title", "seed", "data", "model", "recipe", "train", "defenses", "attacks", "audit", "engine", "store")


@dataclass(frozen=True)
class Run:
    """A run file, checked.

    Args:
        data: Where pool, holdout and test come from.
        recipe: How membrane trains; None where ``function`` does.
        function: The user's own training function; None where there is a recipe.
        defenses: By label, the baseline first; empty with a function.
        attacks: None for all that can be fed.
        sizes: Of the audit.
        seed: Decides everything that is drawn.
        title: Heading of the report.
        train: What the file calls the function.
        engine: Where models are trained.
        store: Folder or URL where finished models lie; the run folder's own if not given.
    """

    data: Source
    recipe: Recipe | None
    function: TrainFunction | None = None
    defenses: Mapping[str, Defense] = field(default_factory=dict)
    attacks: tuple[Attack, ...] | None = None
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    title: str = "Membership audit"
    train: str | None = None
    engine: Engine = field(default_factory=InProcess)
    store: str | None = None

    @property
    def trains(self) -> dict[str, Recipe | TrainFunction]:
        """What is audited, by label."""
        if self.function is not None:
            return {str(getattr(self.function, "__name__", "train")): self.function}
        assert self.recipe is not None  # read_run accepts no file without one of the two
        return {label: self.recipe.with_defense(defense) for label, defense in self.defenses.items()}

    def plain(self) -> dict[str, Any]:
        """JSON-ready completed settings; ``run_from`` reads them back."""
        plain: dict[str, Any] = {"title": self.title, "seed": self.seed, "data": to_plain(self.data)}
        if self.recipe is None:
            plain["train"] = self.train
        else:
            settings = to_plain(self.recipe)
            plain["model"] = settings["model"]
            plain["recipe"] = {key: value for key, value in settings.items() if key not in ("model", "defense")}
            plain["defenses"] = [{"label": label, **to_plain(one)} for label, one in self.defenses.items()]
        if self.attacks is not None:
            plain["attacks"] = to_plain(self.attacks)
        plain |= {} if self.store is None else {"store": self.store}
        return plain | {"audit": to_plain(self.sizes), "engine": to_plain(self.engine)}


def read_run(path: str | Path) -> Run:
    """Run from a TOML file; paths in it count from its folder.

    Raises:
        SettingError: If the file is missing or no TOML, or listing all that is wrong in it.
    """
    settings = read_toml(Path(path))
    if is_comparison(settings):
        raise SettingError(f"{path} is a comparison, not a run; `membrane compare {path} --out runs/c` runs it.")
    return run_from(settings, Path(path).parent)


def is_comparison(settings: Mapping[str, Any]) -> bool:
    """Whether plain settings are those of a comparison, not of a run."""
    return "methods" in settings or "settings" in settings


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises:
        SettingError: If it is missing, cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError as problem:
        raise SettingError(f"there is no file {path}. `membrane init {path}` writes one to start from.") from problem
    except OSError as problem:
        raise SettingError(f"cannot read {path}: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:
        raise SettingError(f"{path} is not TOML: {problem}.") from problem


def run_from(settings: Mapping[str, Any], folder: Path) -> Run:
    """Run from plain settings, as TOML or JSON hold them.

    Args:
        settings: By the names in ``KEYS``.
        folder: Where relative paths and the module of ``train`` start.

    Raises:
        SettingError: Listing all that is wrong.
    """
    raise_all(oddities(settings))
    found = unknown(settings, KEYS)
    title = typed(settings, "title", str, "text", "Membership audit", found)
    seed = typed(settings, "seed", int, "a whole number", 0, found)
    data = data_of(settings, folder, found)
    recipe, function = training_of(settings, folder, found)
    defenses = {} if "train" in settings else defenses_of(settings.get("defenses", ["undefended"]), found)
    attacks = attacks_of(settings["attacks"], found) if "attacks" in settings else None
    sizes = sizes_of(settings, found)
    engine: Engine = InProcess()
    with collected(found):
        engine = engine_of(settings.get("engine", engine))
    store = store_of(settings["store"], folder, found) if "store" in settings else None
    raise_all(found)
    assert data is not None  # or there would be a mistake
    named = settings.get("train")
    return Run(data, recipe, function, defenses, attacks, sizes, seed, title, named, engine, store)


def typed(settings: Mapping[str, Any], key: str, kind: type[T], called: str, default: T, found: list[str]) -> T:
    """A value of one kind; the default where it is of another, which is noted in ``found``."""
    value = settings.get(key, default)
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    found.append(f"{key} is {value!r}; it must be {called}.")
    return default
