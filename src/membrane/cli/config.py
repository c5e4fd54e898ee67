"""A run file: data, training and defenses to compare, read with every mistake at once and nothing trained before."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from membrane.attacks import Attack
from membrane.cli.parts import RECIPE_FIELDS, attacks_of, data_of, defenses_of, oddities, table_of, training_of
from membrane.core.errors import SettingError, collected, raise_all
from membrane.core.settings import build, did_you_mean, to_plain
from membrane.data import Queries, Source
from membrane.training import Defense, Recipe
from membrane.training.engines import Engine, InProcess, engine_of
from membrane.training.fleet import TrainFunction

T = TypeVar("T")

KEYS = ("title", "seed", "data", "model", "recipe", "train", "defenses", "attacks", "audit", "engine")


@dataclass(frozen=True)
class Sizes:
    """How much an audit trains and measures.

    Args:
        references: Models trained for each defense, even, 4 or more.
        canaries: Canaries planted in the pool.
        holdout: Examples set aside for defenses that must choose something.
        pool: Examples that are audited; all that the train split has left if not given.
        canary_kind: What the canaries are: "mislabelled", "near_duplicate" or "out_of_distribution".
        allow_duplicates: Note inputs that occur more than once instead of refusing them.
        near_duplicates: Correlation from which images count as copies; identical inputs alone if not given.
        queries: Ways in which models are asked for each image: "identity", "mirror" or "shifts".
    """

    references: int = 16
    canaries: int = 0
    holdout: int = 0
    pool: int | None = None
    canary_kind: str = "mislabelled"
    allow_duplicates: bool = False
    near_duplicates: float | None = None
    queries: Queries = "identity"


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
            plain["recipe"] = {name: settings[name] for name in RECIPE_FIELDS}
            plain["defenses"] = [{"label": label, **to_plain(one)} for label, one in self.defenses.items()]
        if self.attacks is not None:
            plain["attacks"] = to_plain(self.attacks)
        return plain | {"audit": to_plain(self.sizes), "engine": to_plain(self.engine)}


def read_run(path: str | Path) -> Run:
    """Run from a TOML file; paths in it count from its folder.

    Raises:
        SettingError: If the file is missing or no TOML, or listing all that is wrong in it.
    """
    path = Path(path)
    try:
        settings = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError as problem:
        raise SettingError(f"there is no file {path}. `membrane init {path}` writes one to start from.") from problem
    except OSError as problem:
        raise SettingError(f"cannot read {path}: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:
        raise SettingError(f"{path} is not TOML: {problem}.") from problem
    return run_from(settings, path.parent)


def run_from(settings: Mapping[str, Any], folder: Path) -> Run:
    """Run from plain settings, as TOML or JSON hold them.

    Args:
        settings: By the names in ``KEYS``.
        folder: Where relative paths and the module of ``train`` start.

    Raises:
        SettingError: Listing all that is wrong.
    """
    raise_all(oddities(settings))
    found = [
        f"there is no setting {name!r}. {did_you_mean(name, KEYS)}There are: {', '.join(KEYS)}."
        for name in settings
        if name not in KEYS
    ]
    title = _typed(settings, "title", str, "text", "Membership audit", found)
    seed = _typed(settings, "seed", int, "a whole number", 0, found)
    data = data_of(settings, folder, found)
    recipe, function = training_of(settings, folder, found)
    defenses = {} if "train" in settings else defenses_of(settings.get("defenses", ["undefended"]), found)
    attacks = attacks_of(settings["attacks"], found) if "attacks" in settings else None
    sizes = Sizes()
    with collected(found):
        sizes = build(Sizes, table_of(settings, "audit"), "audit")
    engine: Engine = InProcess()
    with collected(found):
        engine = engine_of(settings.get("engine", engine))
    raise_all(found)
    assert data is not None  # or there would be a mistake
    return Run(data, recipe, function, defenses, attacks, sizes, seed, title, settings.get("train"), engine)


def _typed(settings: Mapping[str, Any], key: str, kind: type[T], called: str, default: T, found: list[str]) -> T:
    value = settings.get(key, default)
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    found.append(f"{key} is {value!r}; it must be {called}.")
    return default
