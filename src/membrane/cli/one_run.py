"""``membrane one-run``: what guesses about canaries prove about the epsilon of a run's training, from one model."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.cli.config import Run, read_run
from membrane.cli.overrides import add_device
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.errors import SettingError
from membrane.core.progress import silent
from membrane.core.settings import did_you_mean
from membrane.core.text import duration
from membrane.training import Recipe
from membrane.training.engines import engine_of
from membrane.training.fleet import TrainFunction
from membrane.verbs import audit_one_run
from membrane.verbs.privacy import DELTA


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="the run file")
    parser.add_argument("--out", required=True, help="folder for the model and the results")
    parser.add_argument("--store", help="folder or URL where the model lies, instead of the file's")
    add_device(parser)
    parser.add_argument("--defense", help="which of the file's defenses, by its label; the first if not given")
    parser.add_argument("--canaries", type=int, default=1000, help="each in the training set by its own coin (1000)")
    parser.add_argument("--attacks", nargs="+", default=["loss"], help="that need no reference models (loss)")
    parser.add_argument("--delta", type=float, default=DELTA, help=f"of (epsilon, delta)-privacy ({DELTA:g})")
    parser.add_argument("--seed", type=int, help="instead of the file's")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    start = time.monotonic()
    run = read_run(args.file)
    train = _named(run, args.defense)
    with Bar(args.quiet) as bar:
        run.data.prepare(silent if args.quiet else bar)
        found = audit_one_run(
            train,
            run.data,
            canaries=args.canaries,
            holdout=run.sizes.holdout,
            pool=run.sizes.pool,
            canary_kind=run.sizes.canary_kind,
            allow_duplicates=run.sizes.allow_duplicates,
            attacks=args.attacks,
            delta=args.delta,
            out=args.out,
            store=run.store if args.store is None else args.store,
            seed=run.seed if args.seed is None else args.seed,
            title=run.title,
            progress=silent if args.quiet else bar,
            engine=engine_of(run.engine, device=args.device),
        )
    for sentence in found.verdict:
        print(wrapped(sentence))
    print(f"\nNumbers: {Path(args.out) / 'results.json'}; {duration(time.monotonic() - start)}.")
    return 0


def _named(run: Run, label: str | None) -> Recipe | TrainFunction:
    trains = run.trains
    if label is None:
        return next(iter(trains.values()))
    if label not in trains:
        there = ", ".join(trains)
        raise SettingError(
            f"no defense of this run is labelled {label!r}. {did_you_mean(label, trains)}Labels: {there}."
        )
    return trains[label]


COMMAND = Command(
    "one-run",
    "bound the epsilon of a run's training from below with one model",
    "membrane one-run run.toml --out runs/e --canaries 1000",
    _add,
    _run,
)
