"""``membrane demo``: the whole job on data that ship with scikit-learn."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.audit import show
from membrane.cli.command import Command
from membrane.cli.going_on import stoppable
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.progress import silent
from membrane.verbs.demo import demo

_WHAT = (
    "Handwritten digits, nothing is downloaded. Small models are trained under several defenses, each on a random half "
    "of the images, some of them planted with a wrong label. Then every model is attacked with the help of all others "
    "and asked which images were in its half."
)


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", help="run folder (default: runs/demo)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything that is drawn (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    start = time.monotonic()
    out = Path(args.out)
    if not args.quiet:
        print(wrapped(_WHAT), flush=True)
    with stoppable(str(out / "store"), lambda: show(out, time.monotonic() - start)), Bar(args.quiet) as bar:
        demo(out, seed=args.seed, progress=silent if args.quiet else bar)
    show(out, time.monotonic() - start)
    return 0


COMMAND = Command("demo", "see it work on built-in data, in minutes", "membrane demo --out runs/demo", _add, _run)
