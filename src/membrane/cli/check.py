"""``membrane check``: everything that can be known before work starts."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from membrane.cli.command import Command
from membrane.cli.comparison_file import Compared, comparison_from
from membrane.cli.config import Run, is_comparison, read_toml, run_from
from membrane.cli.cost import missing_trials, non_member_trials
from membrane.cli.preflight import Preflight, examine
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.device import described, n_gpus
from membrane.core.store import Store
from membrane.core.text import duration, size
from membrane.data import Task
from membrane.training.engines import Engine
from membrane.verbs.comparison.compare import examine as examine_comparison
from membrane.verbs.comparison.cost import cost_of
from membrane.verbs.estimate import Estimate, epochs_of, estimate_task, trainings
from membrane.verbs.observe import readings_of

_WIDTH = 9


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="the run file, or the file of a comparison")


def _run(args: Namespace) -> int:
    path = Path(args.file)
    plain = read_toml(path)
    if is_comparison(plain):
        return _comparison(args.file, comparison_from(plain, path.parent))
    with Bar() as bar:
        flight = examine(run_from(plain, path.parent), bar)
    print(f"{args.file}: nothing is wrong that can be known before training.\n")
    for line in _lines(flight):
        print(line, flush=True)
    print(f"\nNext: membrane audit {args.file} --out runs/a")
    return 0


def _comparison(file: str, compared: Compared) -> int:
    with Bar() as bar:
        for one in compared.settings.values():
            one.prepare(bar)
    given = (compared.settings, compared.methods, compared.attacks, compared.seeds, compared.seed, compared.engine)
    places = examine_comparison(*given)
    print(f"{file}: nothing is wrong that can be known before training.\n")
    n_cells = 0
    for name, setting in compared.settings.items():
        about = cost_of(places, name, compared.methods, compared.search, compared.seeds, compared.seed, compared.engine)
        n_cells += about.n_cells
        time = (
            f"unknown: {about.unknown}" if about.seconds is None else f"about {duration(about.seconds)}, more if busy"
        )
        print(_line("setting", f"{name}: {_data(places.task(name, compared.seed))}"))
        print(
            _line(
                "",
                f"{about.n_cells} cells of {setting.sizes.references} models, {about.n_trainings} trainings; {time}.",
            )
        )
        print(_line("", f"at most about {size(about.disk)} on disk."))
    print(_line("attacks", ", ".join(attack.name for attack in places.attacks) + "."))
    print(_line("device", f"{described(compared.engine.works_on())}{_none_seen(compared.engine)}."))
    print(f"\n{n_cells} cells. Next: membrane compare {file} --out runs/compare")
    return 0


def _lines(flight: Preflight) -> Iterator[str]:
    run, task = flight.run, flight.task
    yield _line("data", _data(task))
    yield _line("attacks", ", ".join(attack.name for attack in flight.attacks) + ".")
    for name, trials in non_member_trials(task).items():
        yield _line("rates", _rates(name, trials, len(task.membership)))
    yield _line("models", _models(run, task))
    readings = readings_of(flight.attacks)
    store = None if run.store is None else Store(run.store)
    about = estimate_task(run.trains, task, store, run.seed, readings, run.engine)
    unknown = " and what your function writes" if run.recipe is None else ""
    yield _line(
        "disk",
        f"about {size(about.disk)}{unknown} in {run.store or 'the run folder'}"
        f"{_free(about.disk, about.free_disk, 'there' if run.store else 'here')}",
    )
    yield _line("device", _device(run, about))
    yield _line("memory", _memory(run, about))
    yield _line("time", _time(run, about))


def _line(head: str, text: str) -> str:
    return wrapped(f"{head:<{_WIDTH}}{text}", "  ").replace("\n    ", "\n  " + " " * _WIDTH)


def _data(task: Task) -> str:
    holdout = f"{task.n_holdout:,} set aside to choose on" if task.holdout else "nothing set aside to choose on"
    return (
        f"{task.pool.source}: a pool of {len(task.pool):,} with {len(task.canaries):,} canaries, {holdout}, "
        f"{len(task.test):,} to test on. Each model trains on {int(task.membership[0].sum()):,}."
        + "".join(f" {note}" for note in task.notes)
    )


def _rates(name: str, n_trials: int, n_models: int) -> str:
    """Which true-positive rates the report will show, and what the others would need."""
    answers = missing_trials(n_trials)
    shown = [f"{100 * fpr:g} %" for fpr, needed in answers.items() if not needed]
    per_model = n_trials / n_models
    refused = [
        f"At {100 * fpr:g} % it will be refused: that needs {needed:,}, so {2 * math.ceil(needed / per_model / 2):,} "
        f"references or a larger slice."
        for fpr, needed in answers.items()
        if needed
    ]
    readable = f"TPR will be shown at {', '.join(shown)} FPR." if shown else "no TPR will be shown."
    return " ".join([f"{name}: {n_trials:,} non-member trials; {readable}", *refused])


def _models(run: Run, task: Task) -> str:
    n_models = len(task.membership)
    different = trainings(run.trains)
    if not different:
        return f"{n_models} calls of {run.train}."
    parts = [f"{' + '.join(labels)} ({epochs_of(recipe)} epochs)" for labels, recipe in different.items()]
    return f"{n_models * len(different)} trainings, {n_models} for each of: {'; '.join(parts)}."


def _free(needed: int, free: int | None, where: str) -> str:
    if free is None:
        return "."
    return f"; {size(free)} are free {where}.{'' if needed < free else ' THAT IS TOO LITTLE.'}"


def _memory(run: Run, about: Estimate) -> str:
    if about.memory is None:
        return f"unknown: only {run.train} knows how much it takes."
    return f"about {size(about.memory)} beside PyTorch and the data{_free(about.memory, about.free_memory, 'here')}"


def _device(run: Run, about: Estimate) -> str:
    if run.recipe is None:
        return f"{about.device} for recipes; {run.train} trains where it likes."
    return f"{about.device}{_none_seen(run.engine)}."


def _none_seen(engine: Engine) -> str:
    """Why "auto" came out as the CPU."""
    return " (torch sees no GPU here)" if engine.device == "auto" and not n_gpus() else ""


def _time(run: Run, about: Estimate) -> str:
    if run.recipe is None:
        return f"unknown: only {run.train} knows how long it takes."
    if about.seconds is None:
        return f"unknown: {about.unknown}."
    plural = "" if about.n_threads == 1 else "s"
    together = "" if about.at_once == 1 else f", {about.at_once} models at a time"
    return (
        f"about {duration(about.seconds)} on {about.n_threads} thread{plural}{together}, from a few batches trained "
        "here; more if busy."
    )


COMMAND = Command(
    "check",
    "list what is wrong with a run or comparison file, what it resolves and costs",
    "membrane check run.toml",
    _add,
    _run,
)
