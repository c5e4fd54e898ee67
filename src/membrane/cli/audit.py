"""``membrane audit``: train reference models through every pipeline of a run, attack them, write the report."""

from __future__ import annotations

import dataclasses
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import get_args

from membrane.cli.command import Command
from membrane.cli.config import Run, read_run
from membrane.cli.going_on import stoppable
from membrane.cli.overrides import add_overrides, engine_said, store_said
from membrane.cli.preflight import examine
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.progress import silent
from membrane.core.store import write_json
from membrane.core.text import duration
from membrane.data import Queries
from membrane.verbs import Audit, audit
from membrane.verbs.results import versions

FORMAT = "membrane audit run 1"


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="the run file")
    parser.add_argument("--out", required=True, help="run folder; a stopped audit goes on where it was")
    add_overrides(parser)
    parser.add_argument("--references", type=int, help="models for each defense, instead of the file's number")
    parser.add_argument(
        "--queries", choices=get_args(Queries), help="ways to ask for each image, instead of the file's"
    )
    parser.add_argument("--seed", type=int, help="instead of the file's")
    parser.add_argument(
        "--only-finished", action="store_true", help="train nothing: report the models that a stopped audit finished"
    )
    parser.add_argument(
        "--regions", action="store_true", help="also attack each region of the networks, to see where the leak shows"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    start = time.monotonic()
    run = _with(read_run(args.file), args)
    with Bar(args.quiet) as bar:
        flight = examine(run, bar)
    out = Path(args.out)
    with run.engine.entered():
        write_json(out / "audit.json", {"format": FORMAT, "settings": run.plain(), "versions": versions()})
    kept = run.store or str(out / "store")
    with stoppable(kept, lambda: show(out, time.monotonic() - start)), Bar(args.quiet) as bar:
        audit(
            run.trains,
            flight.task,
            attacks=flight.attacks,
            out=out,
            store=run.store,
            seed=run.seed,
            title=run.title,
            progress=silent if args.quiet else bar,
            only_finished=args.only_finished,
            regions=args.regions,
            engine=run.engine,
        )
    show(out, time.monotonic() - start)
    return 0


def show(out: Path, seconds: float) -> None:
    """Write the report of a finished audit and print verdict, tier, path and time."""
    done = Audit.load(out)  # from the file, so that `membrane report` gives the same page
    page = done.to_html(out / "report.html")
    for sentence in (*done.verdict, *done.tier):
        print(wrapped(sentence))
    print(f"\nReport: {page} (figures beside it, numbers in {out / 'results.json'}); {duration(seconds)}.")


def _with(run: Run, args: Namespace) -> Run:
    sizes, seed = run.sizes, run.seed if args.seed is None else args.seed
    sizes = sizes if args.references is None else dataclasses.replace(sizes, references=args.references)
    sizes = sizes if args.queries is None else dataclasses.replace(sizes, queries=args.queries)
    engine, store = engine_said(args, run.engine), store_said(args, run.store)
    return dataclasses.replace(run, sizes=sizes, seed=seed, engine=engine, store=store)


COMMAND = Command(
    "audit",
    "measure what a run's models leak: train, attack, report",
    "membrane audit run.toml --out runs/a --references 32",
    _add,
    _run,
)
