"""An audit that was stopped half way: what can be said from the models that are finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from membrane.attacks import Attack
from membrane.core.errors import MembraneError, NotEnoughDataError
from membrane.core.progress import Progress, silent
from membrane.core.store import Store, read_json
from membrane.data import Task
from membrane.data.membership import references_each
from membrane.training.engines import Engine
from membrane.training.fleet import finished_rows, train_fleet
from membrane.verbs.judge import Judged, audit_of, judge
from membrane.verbs.observe import readings_of
from membrane.verbs.outcome import Audit
from membrane.verbs.results import Train

FEWEST = 4  # models from which something can be said: two complementary pairs


class AuditStopped(KeyboardInterrupt):
    """An audit was interrupted.

    Args:
        message: What there is, and how to go on.
        audit: What the finished models say, marked as partial; None if they are too few.
    """

    def __init__(self, message: str, audit: Audit | None) -> None:
        super().__init__(message)
        self.audit = audit


def so_far(
    trains: Mapping[str, Train],
    functions: Mapping[str, str | None],
    task: Task,
    attacks: Sequence[Attack],
    store: Store,
    seed: int,
    title: str,
    informed: bool,
    engine: Engine,
    progress: Progress = silent,
) -> Audit:
    """Audit of what is finished; nothing is trained.

    Pipelines of which every model is finished are reported as they would be in the end, the others are left out:
    attacks with fewer reference models are weaker, and would make them look safer. If none is complete, the one
    with most models is reported on its complementary pairs.

    Args:
        trains: What is audited, by label.
        functions: Identity of those that are functions, by label.
        task: Data and membership.
        attacks: Those of the whole audit; what fewer models cannot feed is left out.
        store: Where finished models lie.
        seed: Of the audit.
        title: Of the report.
        informed: As in ``audit``.
        engine: That releases models under what was chosen for others.
        progress: Told of models that are read.

    Raises:
        NotEnoughDataError: If not even two pairs of models of one pipeline are finished, saying what there is.
    """
    n_models = len(task.membership)
    readings = readings_of(attacks)
    rows = {
        label: finished_rows(train, task, store, seed, label, functions[label], readings)
        for label, train in trains.items()
    }
    whole = [label for label in trains if len(rows[label]) == n_models]
    if whole:
        chosen = {label: list(range(n_models)) for label in whole}
    else:
        label = max(trains, key=lambda one: len(_pairs(rows[one])))
        chosen = {label: _pairs(rows[label])}
        if len(chosen[label]) < FEWEST:
            raise NotEnoughDataError(_too_few(rows, n_models))
    used = next(iter(chosen.values()))
    some = dataclasses.replace(task, membership=task.membership[used])
    n_each = references_each(len(used))
    fed = [one for one in attacks if not one.missing(n_each, n_each, len(task.test))]
    parts: dict[str, Judged] = {}
    for label in chosen:
        bank = train_fleet(trains[label], task, store, seed, progress, used, label, functions[label], readings)
        parts[label] = judge(label, trains[label], bank, task, fed, store, seed, used, informed, engine=engine)
    done = audit_of(parts, trains, some, fed, seed, title)
    if len(whole) == len(trains):
        return done
    partial = {
        "models": len(used),
        "of_models": n_models,
        "finished": {label: len(found) for label, found in rows.items()},
        "attacks_left_out": [one.name for one in attacks if one not in fed],
    }
    text = _text(rows, list(chosen), len(used), n_models, [one.name for one in attacks if one not in fed])
    return dataclasses.replace(done, results=done.results | {"partial": partial | {"text": text}})


def keep(found: Audit, folder: Path) -> bool:
    """Write a partial audit into its run folder, unless a whole one lies there; whether it was written."""
    if (folder / "results.json").exists():
        try:
            older = read_json(folder / "results.json")
        except MembraneError:
            older = {"partial": True}  # damaged: nothing is lost
        if not (isinstance(older, dict) and older.get("partial")) and "partial" in found.results:
            return False
    found.save(folder)
    return True


def _pairs(rows: Sequence[int]) -> list[int]:
    """Rows whose complementary partner is there too."""
    there = set(rows)
    return [row for row in rows if row ^ 1 in there]


def _counts(rows: Mapping[str, Sequence[int]], n_models: int) -> str:
    return ", ".join(f"{label} {len(found)} of {n_models}" for label, found in rows.items())


def _too_few(rows: Mapping[str, Sequence[int]], n_models: int) -> str:
    return (
        f"models finished so far: {_counts(rows, n_models)}. Two complementary pairs ({FEWEST} models) are the least "
        "that can be read; the same audit goes on from here."
    )


def _text(
    rows: Mapping[str, Sequence[int]], shown: Sequence[str], n_used: int, n_models: int, weaker: Sequence[str]
) -> str:
    left = {label: found for label, found in rows.items() if label not in shown}
    parts = ["Partial: this audit was stopped before its end."]
    if n_used == n_models:
        parts.append(f"{len(shown)} of {len(rows)} pipelines are finished and shown, with all their models.")
    else:
        parts.append(
            f"{n_used} of {n_models} models of {shown[0]} are shown, in complementary pairs: with fewer reference "
            "models attacks are weaker, so the whole audit may find more."
        )
    if left:
        parts.append(f"Left out, not finished: {_counts(left, n_models)}.")
    if weaker:
        parts.append(f"Attacks that so few models cannot feed: {', '.join(weaker)}.")
    return " ".join(parts)
