"""``membrane store ls``: kinds of entries, how many, how large, how old."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from membrane.cli.command import Command
from membrane.cli.text import table
from membrane.core.text import duration, size
from membrane.core.upkeep import Shelf, find_store, shelves


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON; ages in seconds, sizes in bytes")


def _run(args: Namespace) -> int:
    store = find_store(args.place)
    found = shelves(store)
    if args.json:
        print(json.dumps({"store": store.root, "kinds": [asdict(one) for one in found]}, indent=1))
        return 0
    print(f"{store.root}:\n")
    print(table([["kind", "entries", "size", "newest", "oldest"], *(_row(one) for one in found)]))
    return 0


def _row(shelf: Shelf) -> list[str]:
    return [shelf.kind, f"{shelf.n_entries:,}", size(shelf.n_bytes), _age(shelf.newest), _age(shelf.oldest)]


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{duration(seconds)} ago" if seconds >= 0 else "in the future (the clock was changed)"


COMMAND = Command("ls", "list kinds, numbers, sizes and ages of entries", "membrane store ls runs/a --json", _add, _run)
