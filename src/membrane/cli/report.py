"""``membrane report``: the page or the table once more, from the results of an audit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.core.errors import StoreError
from membrane.verbs import Audit


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="run folder of an audit")
    parser.add_argument("--markdown", action="store_true", help="print a table for a review and write nothing")


def _run(args: Namespace) -> int:
    folder = Path(args.folder)
    if not (folder / "results.json").is_file():
        raise StoreError(
            f"{folder} holds no results.json. `membrane audit run.toml --out {folder}` writes one; with "
            "--only-finished from the models that a stopped audit finished."
        )
    done = Audit.load(folder)
    if args.markdown:
        print(done.to_markdown(), end="")
    else:
        print(f"Report: {done.to_html(folder / 'report.html')}")
    return 0


COMMAND = Command(
    "report", "write the report again from an audit's results", "membrane report runs/a --markdown", _add, _run
)
