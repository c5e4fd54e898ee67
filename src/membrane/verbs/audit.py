"""Audit: train a bank of models through the whole pipeline, attack every one of them, and say what came out.

Every model plays target once, without its complementary partner; all others are the attacker's reference
models. They ran the same pipeline, the defense and its choices included, so the attacker knows the defense.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from membrane.attacks import Attack
from membrane.core.errors import DataError, MembraneError, SettingError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.store import Store
from membrane.data import Canary, Queries, Source, Splits, Task
from membrane.data.examples import Examples
from membrane.data.membership import references_each
from membrane.data.task import Subgroup
from membrane.training import train_fleet
from membrane.training.engines import Engine, engine_of
from membrane.training.fleet import identity_of
from membrane.verbs.by_region import with_regions
from membrane.verbs.estimate import Estimate, estimate_task
from membrane.verbs.judge import Judged, audit_of, judge
from membrane.verbs.mistakes import pipeline_mistakes
from membrane.verbs.observe import choose_attacks, readings_of, refuse_unreadable
from membrane.verbs.outcome import Audit
from membrane.verbs.partial import AuditStopped, keep, so_far
from membrane.verbs.results import Train, label_of
from membrane.verbs.sizes import Sizes


def audit(
    train: Train | Mapping[str, Train],
    data: Task | Splits | Source | Examples,
    *,
    references: int = 16,
    canaries: int = 0,
    holdout: int = 0,
    pool: int | None = None,
    canary_kind: str | Canary = "mislabelled",
    allow_duplicates: bool = False,
    near_duplicates: float | None = None,
    queries: Queries = "identity",
    subgroups: Mapping[str, Subgroup] | None = None,
    attacks: Sequence[str | Attack] | None = None,
    out: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str = "Membership audit",
    informed: bool = True,
    regions: bool = False,
    progress: Progress = silent,
    only_finished: bool = False,
    engine: str | Mapping[str, Any] | Engine = "in_process",
    workers: int | None = None,
) -> Audit:
    """Measure what a training pipeline leaks about its training sets.

    Args:
        train: A recipe; or ``train(members, holdout, generator) -> model``, the user's own loop, defense included
            (holdout is None if nothing is set aside);
            or several of them by label, of which the first is the baseline.
        data: Where pool, holdout and test are drawn from; or a task that was drawn already, which settles references
            and all from canaries to near_duplicates, and queries if they are not given.
        references: Models to train, even, 4 or more; each example is in half of them. More is more exact: 32 for
            intervals over models (they are drawn in pairs), 66 for a variance of LiRA's for each example.
        canaries: Examples planted in the pool to be easy to betray, to see the worst case.
        holdout: Examples set aside for pipelines that must choose something (PPTP needs 500 or more).
        pool: Examples that are audited; by default all that the train split has left.
        canary_kind: What the canaries are: "mislabelled", "near_duplicate", "out_of_distribution", or one of these
            with its settings.
        allow_duplicates: Note inputs that occur more than once instead of refusing them.
        near_duplicates: Correlation from which images count as copies, 0.95 say; None for identical inputs alone.
        queries: Ways in which models are asked for each image: "identity", "mirror" (as it is and mirrored) or
            "shifts" (both, in 3 x 3 shifts by a pixel: 18). They show more of models that train on such images, less
            of others, and take as many times as long to ask.
        subgroups: By name, a function from the pool's examples to (N,) bool: who belongs. Each is compared with the
            rest, as each class is. ``{"small": lambda pool: pool.x[:, 3] < 10}``
        attacks: Names or objects; by default every attack that this number of models can feed.
        out: Run folder for results, and for finished models if there is no ``store``. Temporary if not given.
        store: Where finished models lie: a folder, or a URL that fsspec opens ("s3://bucket/prefix"); "store" in
            ``out`` if not given. A killed audit goes on where it was. Whatever names the same store finds the trainings
            in it, in another run or on another machine.
        seed: Decides splits, canaries, training and bootstrap.
        title: Heading of the report.
        informed: Whether the attacker knows what a defense chose for the target (PPTP's plan) and gives it to the
            reference models. Otherwise each reference keeps its own choice, which makes a weaker attacker.
        regions: Whether every region of the networks is read and attacked by itself, to show where the leak can be
            read. Adds the attacks "region" and "gradient_norm"; whoever names these gets the same.
        progress: Told what the audit will take, then how far training is.
        only_finished: Train nothing and report what is finished in the store, after a kill for example; marked as
            partial in results and report.
        engine: Where models are trained: "in_process", one after the other; "processes", several at a time on this
            machine; "ray", on a cluster; or one of these with its settings, ``device`` among them: a GPU is used where
            there is one, unless it says "cpu". The results are the same, bit for bit, where torch computes on the CPU
            with as many threads.
        workers: Models at a time, for an engine that trains several.

    Raises:
        AuditStopped: If interrupted (Ctrl-C). What the finished models say is in it and in ``out``, marked as
            partial; a second call with the same arguments goes on and ends with the bits of an unbroken one.
        DataError: If the data do not fit, before anything is trained.
        SettingError: If a setting does not fit, before anything is trained.
        NotEnoughDataError: If a named attack cannot run with so many models, before anything is trained; or if
            ``only_finished`` finds fewer than two pairs of models.
        StoreError: If the store cannot be reached or written to, before anything is trained.
        TrainingError: If a training diverges; finished models stay in the store, pipelines that were finished are
            reported in ``out``.
        OutOfMemoryError: If memory runs out, naming the setting that would fit.
    """
    kept = None if store is None else Store(store)
    sizes = Sizes(references, canaries, holdout, pool, canary_kind, allow_duplicates, near_duplicates, queries)
    trains, task = _checked(train, _task(data, sizes, seed))
    task = task.grouped(subgroups or {})
    n_each = references_each(len(task.membership))
    chosen = choose_attacks(attacks, n_each, n_each, len(task.test))
    chosen = with_regions(chosen, len(task.membership)) if regions else chosen
    refuse_unreadable(chosen, task.pool, task.test)
    made = engine_of(engine, workers)
    for one in trains.values():
        made.refuse(one)
    with ExitStack() as meanwhile:
        meanwhile.enter_context(made.entered())
        folder = meanwhile.enter_context(tempfile.TemporaryDirectory(prefix="membrane-")) if out is None else out
        kept = kept or Store(Path(folder) / "store")
        done = _audit(trains, task, chosen, Path(folder), kept, seed, title, informed, progress, only_finished, made)
        if out is not None:
            keep(done, Path(out))
    return done


def estimate(
    train: Train | Mapping[str, Train],
    data: Task | Splits | Source | Examples,
    *,
    references: int = 16,
    canaries: int = 0,
    holdout: int = 0,
    pool: int | None = None,
    canary_kind: str | Canary = "mislabelled",
    allow_duplicates: bool = False,
    near_duplicates: float | None = None,
    queries: Queries = "identity",
    attacks: Sequence[str | Attack] | None = None,
    out: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    seed: int = 0,
    engine: str | Mapping[str, Any] | Engine = "in_process",
    workers: int | None = None,
) -> Estimate:
    """What ``audit`` with the same arguments would take: models, seconds, memory and disk.

    A few batches of each training are run for it; a user's own function is not tried.

    Args:
        train: As in ``audit``.
        data: As in ``audit``.
        references: Models to train for each pipeline.
        canaries: As in ``audit``.
        holdout: As in ``audit``.
        pool: As in ``audit``.
        canary_kind: As in ``audit``.
        allow_duplicates: As in ``audit``.
        near_duplicates: As in ``audit``.
        queries: As in ``audit``.
        attacks: As in ``audit``.
        out: Run folder; models that are finished in its store are not counted.
        store: As in ``audit``.
        seed: As in ``audit``.
        engine: As in ``audit``.
        workers: As in ``audit``.

    Raises:
        DataError: If the data do not fit.
        SettingError: If a setting does not fit.
        StoreError: If the store cannot be reached.
        OutOfMemoryError: If a batch does not fit into memory, naming one that does.
    """
    place = store if store is not None or out is None else Path(out) / "store"
    kept = None if place is None else Store(place)
    sizes = Sizes(references, canaries, holdout, pool, canary_kind, allow_duplicates, near_duplicates, queries)
    trains, task = _checked(train, _task(data, sizes, seed))
    n_each = references_each(len(task.membership))
    readings = readings_of(choose_attacks(attacks, n_each, n_each, len(task.test)))
    return estimate_task(trains, task, kept, seed, readings, engine_of(engine, workers))


def _checked(train: Train | Mapping[str, Train], task: Task) -> tuple[dict[str, Train], Task]:
    """Pipelines by label, if nothing is known to stop them on this task."""
    trains = dict(train) if isinstance(train, Mapping) else {label_of(train): train}
    if not trains:
        raise SettingError("there is nothing to audit; pass a recipe or a training function.")
    raise_all(pipeline_mistakes(trains, task))
    return trains, task


def _task(data: Task | Splits | Source | Examples, sizes: Sizes, seed: int) -> Task:
    if not isinstance(data, Task):
        return sizes.draw(data, seed)
    if len(data.membership) % 2 or (data.membership[::2] == data.membership[1::2]).any():
        raise DataError("models 2k and 2k+1 of this task do not train on complementary halves; use make_task.")
    return data if sizes.queries == "identity" else data.asked(sizes.queries)


def _audit(
    trains: Mapping[str, Train],
    task: Task,
    attacks: list[Attack],
    out: Path,
    store: Store,
    seed: int,
    title: str,
    informed: bool,
    progress: Progress,
    only_finished: bool,
    engine: Engine,
) -> Audit:
    # Once: a counter in a function, moved by an earlier pipeline, must not change its key.
    functions = {label: identity_of(train) for label, train in trains.items()}
    rest = (trains, functions, task, attacks, store, seed, title, informed, engine)
    if only_finished:
        return so_far(*rest, progress)
    if progress is not silent:  # trying a few batches takes a moment, which nobody would see the use of
        progress(str(estimate_task(trains, task, store, seed, readings_of(attacks), engine)), 0.0, 1.0)
    parts: dict[str, Judged] = {}
    try:
        for i, (label, train) in enumerate(trains.items()):
            start, named = time.perf_counter(), _named(progress, label, i, len(trains))
            bank = train_fleet(
                train, task, store, seed, named, None, label, functions[label], readings_of(attacks), engine
            )
            parts[label] = judge(label, train, bank, task, attacks, store, seed, None, informed, named, start, engine)
    except KeyboardInterrupt:
        raise _stopped(out, *rest) from None
    except MembraneError as problem:
        with suppress(MembraneError):  # too few models, or the disk is full: the problem itself is what counts
            found = so_far(*rest)
            if keep(found, out):
                problem.add_note(f"What was finished before is in results.json: {found.results['partial']['text']}")
        raise
    return audit_of(parts, trains, task, attacks, seed, title)


def _stopped(out: Path, *rest: Any) -> AuditStopped:  # noqa: ANN401 -- arguments of so_far
    found, said = None, ""
    try:
        found = so_far(*rest)
        said = str(found.results.get("partial", {}).get("text", "All models were finished."))
        if not keep(found, out):
            said += f" {out / 'results.json'} is of an earlier, whole audit and was left as it is."
    except MembraneError as problem:
        said = str(problem)
    return AuditStopped(said, found)


def _named(progress: Progress, label: str, done: int, total: int) -> Progress:
    return lambda what, part, whole: progress(f"{label}: {what}", done + part / whole, total)
