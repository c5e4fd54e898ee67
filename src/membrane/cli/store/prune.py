"""``membrane store prune``: remove what is damaged or left over, and weights if asked to."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from membrane.cli.command import Command
from membrane.cli.text import wrapped
from membrane.core.errors import SettingError, StoreError
from membrane.core.store import Store
from membrane.core.text import size
from membrane.core.upkeep import find_store, prune, shelves, survey


def _add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        action="store_true",
        help="remove the weights and trails of finished trainings too; signals stay, so the audit can be read, but a "
        "further defense on these trainings has to train again",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def _run(args: Namespace) -> int:
    store = find_store(args.place)
    kinds = _weights(store) if args.weights else ()
    planned = list(_planned(store, kinds))
    for line in planned or ["Nothing is damaged or left over."]:
        print(wrapped(line), flush=True)
    if not planned or args.dry_run:
        return 0
    if not args.yes and not _agreed():
        print("Nothing was removed.")
        return 0
    gone = prune(store, kinds)
    print(f"Removed {len(gone):,} files.")
    return 0


def _weights(store: Store) -> tuple[str, ...]:
    kinds = {shelf.kind for shelf in shelves(store)}
    if "release" in kinds:
        return tuple(kinds & {"training", "diverged", "part"})
    raise StoreError(f"{store.root} holds no signals: without the weights nothing would be left of its trainings.")


def _planned(store: Store, kinds: tuple[str, ...]) -> Iterator[str]:
    """What would be removed, a sentence each."""
    found = survey(store)
    for one in found.damaged:
        if one.lasting and one.kind not in kinds:
            yield f"damaged: {one.kind}/{one.key}: {one.problem}"
        elif one.kind not in kinds:
            yield f"left alone, as it may be whole: {one.kind}/{one.key}: {one.problem}"
    for path in found.orphans:
        yield f"no entry: {path}"
    for path in found.drafts:
        yield f"unfinished: {path}"
    for shelf in shelves(store):
        if shelf.kind in kinds and shelf.n_entries:
            yield f"all of kind {shelf.kind!r}: {shelf.n_entries:,} entries, {size(shelf.n_bytes)}"


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise SettingError("there is nobody to ask here. Pass --yes to remove this, or --dry-run to only look.")
    return input("Remove this? [y/N] ").strip().lower() in ("y", "yes")


COMMAND = Command(
    "prune",
    "remove damaged entries and what killed writers left",
    "membrane store prune runs/a --dry-run",
    _add,
    _run,
)
