"""``membrane store``: what lies in a store, whether it is sound, and the removal of what is not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from membrane.cli.command import Command, subparsers
from membrane.cli.store import ls, prune, verify

COMMANDS = (ls.COMMAND, verify.COMMAND, prune.COMMAND)


def _add(parser: ArgumentParser) -> None:
    for command, one in subparsers(parser, COMMANDS):
        one.add_argument(
            "place", metavar="STORE", help="run folder of an audit, the store in it, or what was given as --store"
        )
        command.add(one)
        one.set_defaults(run_store=command.run)


def _run(args: Namespace) -> int:
    status: int = args.run_store(args)
    return status


COMMAND = Command("store", "look after the finished models of a run", "membrane store verify runs/a", _add, _run)
