"""The program: parse, run one subcommand, turn refusals into a message and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from argparse import PARSER, SUPPRESS, Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from membrane.cli import audit, check, compare, demo, init, list, locate, one_run, protect, report, store
from membrane.cli.command import subparsers
from membrane.core.errors import MembraneError
from membrane.core.version import __version__

COMMANDS = (
    demo.COMMAND,
    init.COMMAND,
    check.COMMAND,
    protect.COMMAND,
    locate.COMMAND,
    audit.COMMAND,
    one_run.COMMAND,
    compare.COMMAND,
    report.COMMAND,
    store.COMMAND,
    list.COMMAND,
)
REFUSED, STOPPED = 2, 130

_ABOUT = "Locate, reduce and audit what a trained classifier gives away about who was in its training set."
_EXAMPLE = """\
from start to report:
  membrane demo --out runs/demo            see it work, in minutes
  membrane init run.toml                   write a run file, then edit it
  membrane check run.toml                  what is wrong, what it will cost
  membrane protect run.toml --out runs/a   train a model and release it protected
  membrane audit run.toml --out runs/a     measure what such models leak

`membrane COMMAND --help` says more about one of them."""


class _Help(RawDescriptionHelpFormatter):
    """Texts as they were laid out, and no line that only says COMMAND above the commands."""

    def _format_action(self, action: Action) -> str:
        text = super()._format_action(action)
        return text.partition("\n")[2] if action.nargs == PARSER else text


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status of the program: 0, 1 or more for failures, 2 for refusals, 130 if interrupted.

    Args:
        argv: Arguments after the program's name; those of the process if not given.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:  # after --help, --version or a usage error, which has been printed
        return stop.code if isinstance(stop.code, int) else REFUSED
    return _run(args)


def _run(args: Namespace) -> int:
    debug = getattr(args, "debug", False)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except MembraneError as refusal:
        if debug:
            traceback.print_exc()
        print("\n".join([f"membrane: {refusal}", *getattr(refusal, "__notes__", ())]), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as stop:
        if debug:
            traceback.print_exc()
        print(f"\nmembrane: {stop or 'stopped.'}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # the reader (`| head`) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> ArgumentParser:
    parser = ArgumentParser("membrane", description=_ABOUT, epilog=_EXAMPLE, formatter_class=_Help, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"membrane {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of a refusal")
    for command, one in subparsers(parser, COMMANDS, _Help):
        one.add_argument("--debug", action="store_true", default=SUPPRESS, help="show the traceback of a refusal")
        command.add(one)
        one.set_defaults(run=command.run)
    return parser
