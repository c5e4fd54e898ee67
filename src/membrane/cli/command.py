"""What a subcommand is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Args:
        name: As typed.
        what: One line for the list of commands.
        example: A whole command line.
        add: Adds its arguments to a parser.
        run: Does it; the exit status comes out.
    """

    name: str
    what: str
    example: str
    add: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def subparsers(
    parser: ArgumentParser,
    commands: Sequence[Command],
    formatter: type[RawDescriptionHelpFormatter] = RawDescriptionHelpFormatter,
) -> Iterator[tuple[Command, ArgumentParser]]:
    """Each command with its own parser under ``parser``, to which nothing has been added yet."""
    places = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        yield (
            command,
            places.add_parser(
                command.name,
                help=command.what,
                description=command.what[0].upper() + command.what[1:] + ".",
                epilog=f"example:\n  {command.example}",
                formatter_class=formatter,
                allow_abbrev=False,
            ),
        )
