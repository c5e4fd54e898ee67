"""``membrane report``: the page or the table once more, from the results of an audit or the cells of a comparison."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from membrane.cli.command import Command
from membrane.core.errors import StoreError
from membrane.verbs import Audit
from membrane.verbs.comparison import Comparison
from membrane.verbs.comparison.files import PLAN_FILE


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="run folder of an audit or a comparison")
    parser.add_argument("--markdown", action="store_true", help="print a table for a review and write nothing")


def _run(args: Namespace) -> int:
    folder = Path(args.folder)
    if (folder / PLAN_FILE).is_file():
        return _comparison(folder, args.markdown)
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


def _comparison(folder: Path, markdown: bool) -> int:
    done = Comparison.load(folder)
    print(done.to_markdown() if markdown else f"Report: {done.save(folder)}", end="" if markdown else "\n")
    return 0


COMMAND = Command(
    "report",
    "write the report again from the results of an audit or a comparison",
    "membrane report runs/a --markdown",
    _add,
    _run,
)
