"""What a subcommand is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
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
