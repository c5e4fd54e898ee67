"""What is compared: settings, methods at their strengths, and the cells that every pair of them makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from membrane.core.errors import SettingError, collected
from membrane.core.progress import Progress, silent
from membrane.core.settings import did_you_mean, to_plain
from membrane.data import Source, Splits
from membrane.data.examples import Examples
from membrane.report.access import flatten
from membrane.training import Defense, Recipe
from membrane.verbs.comparison.tuned import PREFIX, Strength, Tuned, changed, numbers_of, pipeline_of, with_values
from membrane.verbs.results import Train, label_of, settings_of
from membrane.verbs.sizes import Sizes


@dataclass(frozen=True)
class Setting:
    """One place to compare at: data, network and recipe, and how much is trained on them.

    Args:
        recipe: Of the undefended training, and of every method that does not change it for itself.
        data: Where pool, holdout and test are drawn from.
        sizes: Reference models, canaries and so on.
    """

    recipe: Recipe
    data: Source | Splits | Examples
    sizes: Sizes = field(default_factory=Sizes)

    def prepare(self, progress: Progress = silent) -> None:
        """Whatever a source has to do to its data once, such as unpacking an archive."""
        if isinstance(self.data, Source):
            self.data.prepare(progress)


@dataclass(frozen=True)
class Range:
    """Where a number is searched.

    Args:
        low: Smallest value.
        high: Largest value, above ``low``.
        log: Whether all orders of magnitude are equally likely; needs ``low`` above 0.

    Raises:
        SettingError: If the ends do not fit.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise SettingError(f"a range goes from {self.low} to {self.high}; low must be below high.")
        if self.log and self.low <= 0:
            raise SettingError(f"a logarithmic range begins at {self.low}; it must begin above 0.")


@dataclass(frozen=True)
class Method:
    """A defense at several strengths, which make one curve of accuracy against leakage.

    Args:
        label: Of the curve.
        strengths: The defense at each strength, ``Tuned`` where it changes the setting's recipe for itself; or a whole
            pipeline of one's own, a function as ``audit`` takes it.
        searched: A defense whose strengths are searched for each setting; None where ``strengths`` says all.
        ranges: By name, the settings of ``searched`` that are searched, numbers all of them; those of the recipe by
            names such as ``recipe.lr``.

    Raises:
        SettingError: Listing all that does not fit.
    """

    label: str
    strengths: tuple[Strength, ...] = ()
    searched: Defense | Tuned | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.strengths and self.searched is None:
            raise SettingError(f"{self.label}: there is no strength to compare; give one, or ranges to search.")
        if (self.searched is None) != (not self.ranges):
            raise SettingError(f"{self.label}: what is searched needs ranges, and ranges need a defense to search.")
        if self.searched is not None:
            _check_ranges(self.searched, self.ranges)

    @property
    def ends(self) -> tuple[Defense | Tuned, ...]:
        """What is searched at both ends of all its ranges; empty if nothing is."""
        if self.searched is None:
            return ()
        whole = whole_numbers(self.searched)
        return tuple(
            self.at({name: int(end(one)) if name in whole else end(one) for name, one in self.ranges.items()})
            for end in (attrgetter("low"), attrgetter("high"))
        )

    def at(self, found: Mapping[str, float]) -> Defense | Tuned:
        """The searched defense with these values."""
        if self.searched is None:
            raise SettingError(f"{self.label}: nothing is searched.")
        return with_values(self.searched, found)


def _check_ranges(searched: Defense | Tuned, ranges: Mapping[str, Range]) -> None:
    """Refuse ranges of what is no number, or whose ends the defense does not take."""
    numbers = numbers_of(searched)
    called = searched.defense.name if isinstance(searched, Tuned) else searched.name
    found: list[str] = []
    for name, one in ranges.items():
        if name not in numbers:
            found.append(
                f"{called} has no number {name!r} to search. {did_you_mean(name, numbers)}"
                f"There are: {', '.join(numbers)}."
            )
            continue
        for end in (one.low, one.high):
            with collected(found):
                with_values(searched, {name: int(end) if numbers[name] is int else end})
    if found:
        raise SettingError("\n".join(found))


def whole_numbers(searched: Defense | Tuned) -> set[str]:
    """Names of the settings that are counts."""
    return {name for name, kind in numbers_of(searched).items() if kind is int}


@dataclass(frozen=True)
class Cell:
    """One point of one curve, measured once.

    Args:
        setting: Name.
        method: Label.
        strength: What distinguishes it from the method's other points, in words; empty if it is alone.
        train: The whole pipeline.
        seed: Of splits, canaries, training and bootstrap.
        recipe: What is other about the recipe than in the setting's, by name.
    """

    setting: str
    method: str
    strength: str
    train: Train
    seed: int
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """JSON-ready, without what cells of a setting share of its recipe."""
        defense = to_plain(self.train.defense) if isinstance(self.train, Recipe) else settings_of(self.train)
        return {
            "setting": self.setting,
            "method": self.method,
            "strength": self.strength,
            "defense": defense,
            **({"recipe": to_plain(self.recipe)} if self.recipe else {}),
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        """For progress and messages."""
        return " ".join(filter(None, [self.setting, self.method, self.strength, f"seed {self.seed}"]))


def cells_of(
    settings: Mapping[str, Setting],
    methods: Sequence[Method],
    found: Mapping[tuple[str, str], Sequence[Strength]],
    seed: int,
    seeds: int,
) -> Iterator[Cell]:
    """Every cell: all of one seed before the next, so that something can be said early.

    Args:
        settings: By name.
        methods: The first is the baseline.
        found: By setting and method, the strengths that a search has found.
        seed: The first.
        seeds: How many.
    """
    for one in range(seed, seed + seeds):
        for name, setting in settings.items():
            for method in methods:
                strengths = (*method.strengths, *found.get((name, method.label), ()))
                texts = strength_texts(strengths)
                for strength, text in zip(strengths, texts, strict=True):
                    train, own = pipeline_of(setting.recipe, strength), changed(setting.recipe, strength)
                    yield Cell(name, method.label, text, train, one, own)


def strength_texts(strengths: Sequence[Strength]) -> list[str]:
    """What distinguishes each from the others; of a single one, the setting that it calls its strength.

    >>> from membrane.defenses import RelaxLoss
    >>> strength_texts([RelaxLoss(0.5), RelaxLoss(1.0)])
    ['alpha 0.5', 'alpha 1']
    >>> strength_texts([RelaxLoss(0.5), Tuned(RelaxLoss(1.0), {"lr": 0.05})])
    ['alpha 0.5', 'alpha 1, lr 0.05']
    """
    flat = [_flat(one) for one in strengths]
    if len(flat) == 1:
        only = strengths[0].defense if isinstance(strengths[0], Tuned) else strengths[0]
        name = only.strength if isinstance(only, Defense) else None
        return [f"{name} {flat[0][name]}" if name in flat[0] else ""]
    every = dict.fromkeys(n for one in flat for n in one)
    names = [name for name in every if len({one.get(name) for one in flat}) > 1]
    short = {name: name.removeprefix(PREFIX) for name in names}
    called = {name: name if one != name and one in every else one for name, one in short.items()}
    return [", ".join(f"{called[name]} {one[name]}" for name in names if name in one) for one in flat]


def _flat(strength: Strength) -> dict[str, str]:
    """Settings in words, by name; the changes to a recipe behind those of the defense."""
    if isinstance(strength, Tuned):
        changes = flatten(to_plain(strength.recipe))
        return _flat(strength.defense) | {f"{PREFIX}{name}": text for name, text in changes}
    return dict(flatten(to_plain(strength))) if isinstance(strength, Defense) else {"function": label_of(strength)}
