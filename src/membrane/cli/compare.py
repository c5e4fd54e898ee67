"""``membrane compare``: every defense at its strengths in every setting, a leaderboard of them."""

from __future__ import annotations

import dataclasses
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.cli.comparison_file import read_comparison
from membrane.cli.going_on import interruptible
from membrane.cli.overrides import add_overrides, engine_said, store_said
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.text import duration
from membrane.report.comparison.words import sentences
from membrane.verbs.comparison import Comparison, compare


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("file", help="the comparison file; `membrane init --comparison` writes one to start from")
    parser.add_argument("--out", required=True, help="folder; a stopped comparison goes on where it was")
    add_overrides(parser)
    parser.add_argument("--references", type=int, help="models for each cell, instead of the file's numbers")
    parser.add_argument("--seeds", type=int, help="repetitions, instead of the file's")
    parser.add_argument(
        "--keep-weights",
        action="store_true",
        help="keep all weights and trails, many times what is reported in size; otherwise those in the comparison's "
        "own store that no later cell reads are removed as it goes, the baseline's excepted",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    start = time.monotonic()
    compared, out = read_comparison(args.file), Path(args.out)
    engine, store = engine_said(args, compared.engine), store_said(args, compared.store)
    settings = {
        name: one
        if args.references is None
        else dataclasses.replace(one, sizes=dataclasses.replace(one.sizes, references=args.references))
        for name, one in compared.settings.items()
    }
    with Bar(args.quiet) as bar:
        for one in settings.values():
            one.prepare(bar)
    with interruptible(out, lambda: show(out, time.monotonic() - start)), Bar(args.quiet) as bar:
        compare(
            settings,
            compared.methods,
            out=out,
            store=store,
            seeds=compared.seeds if args.seeds is None else args.seeds,
            attacks=compared.attacks,
            informed=compared.informed,
            search=compared.search,
            seed=compared.seed,
            title=compared.title,
            progress=bar,
            engine=engine,
            keep_weights=args.keep_weights,
        )
    show(out, time.monotonic() - start)
    return 0


def show(out: Path, seconds: float | None = None) -> None:
    """Write the page of what is finished and print verdict and path."""
    done = Comparison.load(out)
    page = done.save(out)
    for sentence in sentences(done.results):
        print(wrapped(sentence))
    took = "" if seconds is None else f"; {duration(seconds)}"
    print(f"\nReport: {page} (figures beside it, numbers in {out / 'results.json'}){took}.")


COMMAND = Command(
    "compare",
    "compare defenses at their strengths in several settings",
    "membrane compare compare.toml --out runs/compare",
    _add,
    _run,
)
