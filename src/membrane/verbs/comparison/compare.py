"""Compare: every method at every strength in every setting, each cell an audit whose attacker knows the defense."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from membrane.attacks import Attack
from membrane.core.errors import MembraneError, TrainingError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.settings import fingerprint, to_plain
from membrane.core.store import Store, read_json, write_json
from membrane.data import Source, Task
from membrane.data.membership import references_each
from membrane.training import Defense
from membrane.training.engines import Engine, engine_of
from membrane.verbs.comparison.cells import Cell, Method, Setting, cells_of
from membrane.verbs.comparison.files import CELL, PLAN, PLAN_FILE
from membrane.verbs.comparison.letting_go import LettingGo
from membrane.verbs.comparison.measured import cell_key, measure_cell
from membrane.verbs.comparison.outcome import Comparison
from membrane.verbs.comparison.search import Found, Search, optuna_or_refuse, search_strengths
from membrane.verbs.comparison.tuned import Tuned, pipeline_of
from membrane.verbs.mistakes import pipeline_mistakes
from membrane.verbs.observe import choose_attacks, refuse_unreadable
from membrane.verbs.results import Train, versions


def compare(
    settings: Mapping[str, Setting],
    methods: Sequence[Method],
    *,
    out: str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    seeds: int = 1,
    attacks: Sequence[str | Attack] | None = None,
    informed: bool = True,
    search: Search | None = None,
    seed: int = 0,
    title: str = "Defenses compared",
    progress: Progress = silent,
    engine: str | Mapping[str, Any] | Engine = "in_process",
    workers: int | None = None,
    keep_weights: bool = False,
) -> Comparison:
    """Measure every method at every strength in every setting.

    Each cell is one JSON file under ``out``. What is finished is not repeated: a comparison that was killed, or to
    which a method was added, goes on where it was. Cells of one setting and seed share the draw of data, so their
    differences are paired; defenses that act after training share their trainings. A cell whose training diverges is
    kept as such, with what was said, and the others go on.

    Args:
        settings: Data, network and recipe by name.
        methods: With their strengths; the first, of a single strength and trained by the settings' recipes, is the
            baseline.
        out: Folder of the comparison: plan, cells, page.
        store: Where finished models lie, as in ``audit``; "store" in ``out`` if not given.
        seeds: How often everything is repeated, with other splits, canaries and models.
        attacks: Names or objects; by default every attack that the setting with fewest models can feed.
        informed: As in ``audit``.
        search: How strengths are searched where a method has ranges.
        seed: The first.
        title: Heading of the page.
        progress: Told of cells and what they are at.
        engine: As in ``audit``.
        workers: As in ``audit``.
        keep_weights: Keep all weights and trails. Otherwise those in the comparison's own store are removed once no
            later cell reads them, the baseline's excepted; a method that is added later trains anew what it shares
            with others. A store that was given is left as it is.

    Raises:
        SettingError: Listing every setting, method and strength that does not fit, before anything is trained.
        DataError: If the data do not fit, before anything is trained.
        StoreError: If ``out`` or the store cannot be reached or written to.
    """
    folder, search, made = Path(out), search or Search(), engine_of(engine, workers)
    with made.entered():
        where = examine(settings, methods, attacks, seeds, seed, made)
        kept = Store(folder / "store" if store is None else store)
        found = _search(where, methods, search, kept, folder, seed, made, progress)
        strengths = {key: one.strengths for key, one in found.items()}
        cells = {_file(cell): cell for cell in cells_of(where.settings, methods, strengths, seed, seeds)}
        plan = _plan(where, methods, title, found, cells)
        write_json(folder / PLAN_FILE, plan)
        own = LettingGo(cells.values(), kept) if store is None and not keep_weights else None
        for done, (file, cell) in enumerate(cells.items()):
            task = where.task(cell.setting, cell.seed)
            key = cell_key(cell, task, where.attacks, informed)
            of = fingerprint(plan["settings"][cell.setting])
            if _is_there(folder / file, key, of):
                progress("cells with stored models", done + 1, len(cells))
            else:
                content = {"format": CELL, "key": key, "of": of, **cell.plain}
                told = _named(progress, cell.label, done, len(cells))
                try:
                    content |= measure_cell(cell, task, where.attacks, kept, informed, made, told)
                except TrainingError as problem:
                    content |= {"failed": str(problem)}
                write_json(folder / file, content)
            if own:
                own.done(cell, task)
    return Comparison.load(folder)


class Places:
    """Settings with their data loaded once, and the draws that cells share.

    Args:
        settings: By name.
        attacks: That every cell is attacked by.
    """

    def __init__(self, settings: Mapping[str, Setting], attacks: Sequence[Attack] = ()) -> None:
        self.given = settings
        self.settings = {
            name: replace(one, data=one.data.load()) if isinstance(one.data, Source) else one
            for name, one in settings.items()
        }
        self.attacks = list(attacks)
        self._drawn: dict[tuple[str, int], Task] = {}

    def task(self, name: str, seed: int) -> Task:
        """The draw of one setting under one seed; the latest is kept."""
        if (name, seed) not in self._drawn:
            one = self.settings[name]
            self._drawn = {(name, seed): one.sizes.draw(one.data, seed)}
        return self._drawn[name, seed]


def examine(
    settings: Mapping[str, Setting],
    methods: Sequence[Method],
    attacks: Sequence[str | Attack] | None,
    seeds: int,
    seed: int,
    engine: Engine,
) -> Places:
    """The settings with their data, if nothing is known to stop any cell.

    Raises:
        SettingError: Listing all that is.
        DataError: If data do not fit.
    """
    raise_all(_mistakes(settings, methods, seeds))
    if any(method.searched for method in methods):
        optuna_or_refuse()
    places, found = Places(settings), []
    chosen: list[list[Attack]] = []
    for name in settings:
        try:
            task = places.task(name, seed)
            n_each = references_each(len(task.membership))
            chosen.append(choose_attacks(attacks, n_each, n_each, len(task.test)))
            refuse_unreadable(chosen[-1], task.pool, task.test)
        except MembraneError as wrong:
            found += [f"{name}: {mistake}" for mistake in wrong.mistakes]
            continue
        pipelines = pipelines_of(settings[name], methods)
        found += [f"{name}: {mistake}" for mistake in pipeline_mistakes(pipelines, task)]
        for train in pipelines.values():
            engine.refuse(train)
    raise_all(found)
    places.attacks = min(chosen, key=len)
    return places


def _mistakes(settings: Mapping[str, Setting], methods: Sequence[Method], seeds: int) -> Iterator[str]:
    if not settings:
        yield "there is no setting to compare in; give data, network and recipe."
    if seeds < 1:
        yield f"seeds is {seeds}; it must be 1 or more."
    for name, one in settings.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}", name):
            yield f"a setting is called {name!r}; use up to 60 letters, digits, spaces, dots and dashes."
        if one.recipe.defense != Defense():
            yield f"{name}: the recipe has the defense {one.recipe.defense.name!r}; methods bring their own."
    labels = [method.label for method in methods]
    for label in dict.fromkeys(label for label in labels if labels.count(label) > 1):
        yield f"two methods are called {label!r}; put their strengths into one, or give them labels of their own."
    if len(methods) < 2:
        yield f"there are {len(methods)} methods; a comparison takes a baseline and one more."
    elif len(methods[0].strengths) != 1 or methods[0].searched is not None:
        yield f"the first method, {labels[0]!r}, is the baseline; it has one strength and no ranges."
    elif isinstance(first := methods[0].strengths[0], Tuned) and first.recipe:
        yield f"the first method, {labels[0]!r}, is the baseline and has no recipe of its own; change the settings'."
    yield from dict.fromkeys(
        f"{name}: {method.label}: {mistake}"
        for name, setting in settings.items()
        for method in methods
        for strength in (*method.strengths, *method.ends)
        if isinstance(strength, Tuned)
        for mistake in strength.mistakes(setting.recipe)
    )


def pipelines_of(setting: Setting, methods: Sequence[Method]) -> dict[str, Train]:
    """Every pipeline of one setting by a name for messages; of what is searched, both ends."""
    found: dict[str, Train] = {}
    for method in methods:
        every = (*method.strengths, *method.ends)
        for i, one in enumerate(every, 1):
            name = method.label if len(every) == 1 else f"{method.label}, number {i}"
            found[name] = pipeline_of(setting.recipe, one)
    return found


def _search(
    where: Places,
    methods: Sequence[Method],
    search: Search,
    store: Store,
    folder: Path,
    seed: int,
    engine: Engine,
    progress: Progress,
) -> dict[tuple[str, str], Found]:
    """What every method with ranges is at its best, in every setting."""
    wanted = [(name, method) for name in where.settings for method in methods if method.searched]
    found = {}
    for done, (name, method) in enumerate(wanted):
        told = _named(progress, f"{name} {method.label}", done, len(wanted))
        one = where.settings[name]
        found[name, method.label] = search_strengths(
            method, one, search, where.attacks, store, folder, seed, engine, told
        )
    return found


def _plan(
    where: Places,
    methods: Sequence[Method],
    title: str,
    found: Mapping[tuple[str, str], Found],
    cells: Mapping[str, Cell],
) -> dict[str, Any]:
    """What the folder is to hold, JSON-ready."""
    return {
        "format": PLAN,
        "title": title,
        "methods": [method.label for method in methods],
        "settings": {name: _plain(one) for name, one in where.given.items()},
        "searches": [
            {"setting": name, "method": label, "trials": list(one.trials)} for (name, label), one in found.items()
        ],
        "cells": [cell.plain | {"file": file} for file, cell in cells.items()],
        "versions": versions(),
    }


def _plain(setting: Setting) -> dict[str, Any]:
    data = _placeless(setting.data) if isinstance(setting.data, Source) else {"name": type(setting.data).__name__}
    recipe = {name: value for name, value in to_plain(setting.recipe).items() if name != "defense"}
    return {"data": data, "recipe": recipe, "audit": to_plain(setting.sizes)}


def _placeless(source: Source) -> dict[str, Any]:
    """Settings of a source with the names of files alone: where they lie is no part of what was measured."""
    plain: dict[str, Any] = to_plain(source)
    for name in type(source).paths:
        value = plain[name]
        plain[name] = [Path(one).name for one in value] if isinstance(value, list) else value and Path(value).name
    inner = {name: _placeless(one) for name, one in vars(source).items() if isinstance(one, Source)}
    return plain | inner


def _file(cell: Cell) -> str:
    """Where a cell lies: by what it is, not by its place among others."""
    called = re.sub(r"[^a-z0-9]+", "-", cell.method.lower()).strip("-")
    plain = cell.plain
    what = {name: plain[name] for name in ("defense", "recipe")} if "recipe" in plain else plain["defense"]
    return f"cells/{cell.setting}/{called}-{fingerprint(what)[:8]}-seed{cell.seed}.json"


def _is_there(path: Path, key: str, of: str) -> bool:
    if not path.exists():
        return False
    try:
        cell = read_json(path)
        return bool(cell.get("key") == key and cell.get("of") == of)
    except (MembraneError, AttributeError):  # damaged: it is measured again
        return False


def _named(progress: Progress, label: str, before: int, parts: int) -> Progress:
    """The whole's progress, told by one of its parts; what a part reads back is no news to the whole."""

    def told(what: str, done: float, total: float) -> None:
        name = what.replace("stored models", "models read back")
        progress(f"{label}: {name}", before + done / max(total, 1), parts)

    return told
