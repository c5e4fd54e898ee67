"""``membrane store verify``: read every entry, say what is damaged and what killed writers left."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from membrane.cli.command import Command
from membrane.cli.progress import Bar
from membrane.cli.text import wrapped
from membrane.core.text import size
from membrane.core.upkeep import Survey, find_store, survey

DAMAGED = 1


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _run(args: Namespace) -> int:
    store = find_store(args.place)
    with Bar(args.quiet) as bar:
        found = survey(store, lambda done, total: bar("reading", done, total))
    if args.json:
        print(json.dumps({"store": store.root, **_plain(found)}, indent=1))
    else:
        for line in _lines(found, args.place):
            print(wrapped(line))
    return DAMAGED if found.damaged else 0


def _plain(found: Survey) -> dict[str, object]:
    damaged = [{"kind": one.kind, "key": one.key, "problem": one.problem} for one in found.damaged]
    left = {"orphans": found.orphans, "drafts": found.drafts}
    return {"n_entries": found.n_entries, "n_bytes": found.n_bytes, "damaged": damaged, **left}


def _lines(found: Survey, place: str) -> Iterator[str]:
    for one in found.damaged:
        yield f"{one.kind}/{one.key}: {one.problem}"
    yield (
        f"{found.n_entries:,} entries read ({size(found.n_bytes)}): {len(found.damaged):,} damaged. Left by killed "
        f"writers: {len(found.orphans):,} tensors without their JSON, {len(found.drafts):,} unfinished files."
    )
    if found.damaged or found.orphans or found.drafts:
        yield f"Next: membrane store prune {place} removes them; what is missing then is made again when it is needed."


COMMAND = Command(
    "verify", "read every entry and say what is damaged (exit status 1)", "membrane store verify runs/a", _add, _run
)
