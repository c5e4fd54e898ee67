"""Upkeep of a store: what lies in it, what is damaged or left over, and the removal of that.

Safe beside running writers: whatever looks wrong is looked at again with the writers' lock in hand, and nothing
is removed without it. Where there is no lock (object storage), what looks wrong and was written less than an hour ago
may belong to a writer that is between its two files, and is left alone. Only folders that a store has written to (they
hold its lock file) are ever touched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from membrane.core.errors import StoreError, UnreadableError, collected
from membrane.core.files import LOCK, Files, Found
from membrane.core.store import Store

_TENSORS, _FACTS = ".safetensors", ".json"
_UNDER_WAY = 3600.0  # seconds that an entry may take between its two files; for large ones on slow lines


@dataclass(frozen=True)
class Shelf:
    """The entries of one kind.

    Args:
        kind: Its name.
        n_entries: Whole or damaged; an entry is there when its JSON is.
        n_bytes: Of all its files.
        newest: Seconds since its newest entry was written, by the clock of where it lies, which may have been
            changed: for people to read. None if there is no entry, or no time is kept.
        oldest: The same of its oldest.
    """

    kind: str
    n_entries: int
    n_bytes: int
    newest: float | None
    oldest: float | None


@dataclass(frozen=True)
class Damage:
    """An entry that cannot be used.

    Args:
        kind: Of the entry.
        key: Of the entry.
        problem: What is wrong, in a sentence.
        lasting: Whether its files hold something wrong for good; else they could not be read, or were written just
            now where no lock tells whether somebody is at it, which may pass.
    """

    kind: str
    key: str
    problem: str
    lasting: bool


@dataclass(frozen=True)
class Survey:
    """Everything that was found in a store.

    Args:
        n_entries: Read and compared with their checksums.
        n_bytes: Of their files.
        damaged: Entries that cannot be used.
        orphans: Paths or URLs of tensors without the JSON that would make them an entry: their writer was killed.
        drafts: The same of files that a killed writer had not finished.
    """

    n_entries: int
    n_bytes: int
    damaged: tuple[Damage, ...]
    orphans: tuple[str, ...]
    drafts: tuple[str, ...]


def find_store(place: str | os.PathLike[str]) -> Store:
    """The store in a run folder, or the place itself if it is one.

    Args:
        place: Folder or URL.

    Raises:
        StoreError: If there is none.
    """
    for root in (f"{os.fspath(place)}/store", place):
        store = Store(root)
        if next(_kinds(store.files), None) is not None:
            return store
    raise StoreError(
        f"{place} holds no store. Name the --out folder of `membrane audit`, the store in it, or the folder or URL "
        "that was given as --store."
    )


def _kinds(files: Files) -> Iterator[str]:
    """Folders that a store has written to, by name."""
    return (folder for folder in files.folders() if files.has(f"{folder}/{LOCK}"))


def shelves(store: Store, now: float | None = None) -> list[Shelf]:
    """What lies in a store, by kind, without reading it.

    Args:
        store: To look at.
        now: Seconds since 1970; the clock's if not given.
    """
    moment = time.time() if now is None else now
    return [_shelf(kind, store.files.found(kind), moment) for kind in _kinds(store.files)]


def _shelf(kind: str, found: list[Found], now: float) -> Shelf:
    entries = [one for one in found if one.name.endswith(_FACTS) and not one.name.startswith(".")]
    ages = [now - one.written for one in entries if one.written is not None]
    return Shelf(
        kind, len(entries), sum(one.n_bytes for one in found), min(ages, default=None), max(ages, default=None)
    )


def survey(
    store: Store, watch: Callable[[int, int], None] = lambda done, total: None, now: float | None = None
) -> Survey:
    """Read every entry of a store.

    Args:
        store: To look at; nothing in it is changed.
        watch: Called with entries read and in total.
        now: Seconds since 1970; the clock's if not given. Counts only where there are no locks.
    """
    moment = time.time() if now is None else now
    entries = [(kind, key) for kind in _kinds(store.files) for key in store.keys(kind)]
    damaged = []
    for done, (kind, key) in enumerate(entries, 1):
        damage = _damage(store, kind, key, moment) and _again(store, kind, key, moment)
        damaged += [damage] if damage else []
        watch(done, len(entries))
    orphans, drafts, n_bytes = [], [], 0
    for kind in _kinds(store.files):
        with _quiet(store.files, kind):
            found = store.files.found(kind)
        keys = {key for one, key in entries if one == kind}
        n_bytes += sum(one.n_bytes for one in found if _key(one) in keys)
        orphans += _paths(store.files, kind, _orphans(store.files, found, moment))
        drafts += _paths(store.files, kind, _drafts(store.files, found, moment))
    return Survey(len(entries), n_bytes, tuple(damaged), tuple(orphans), tuple(drafts))


def _damage(store: Store, kind: str, key: str, now: float) -> Damage | None:
    try:
        store.load(kind, key)
    except UnreadableError as problem:
        return Damage(kind, key, str(problem), lasting=False)
    except StoreError as problem:
        if not store.has(kind, key):  # just being replaced, or removed by somebody else
            return None
        files = [one for one in store.files.found(kind) if _key(one) == key]
        lasting = all(_settled(store.files, one, now) for one in files)
        fresh = "" if lasting else " It was written less than an hour ago: somebody may be at it."
        return Damage(kind, key, f"{problem}{fresh}", lasting)
    return None


def _again(store: Store, kind: str, key: str, now: float) -> Damage | None:
    """Damage that is still there when no writer is at work: one may have been between its two files."""
    with _quiet(store.files, kind):
        return _damage(store, kind, key, now)


@contextmanager
def _quiet(files: Files, kind: str) -> Iterator[None]:
    """The folder's lock if it can be had; a store that cannot be written to has no writers to wait for."""
    with ExitStack() as held:
        with collected([]):
            held.enter_context(files.alone(kind))
        yield


def _settled(files: Files, one: Found, now: float) -> bool:
    """Whether nobody can be at work on a file, given that the lock is in hand where there is one."""
    return files.exclusive or (one.written is not None and now - one.written > _UNDER_WAY)


def _key(one: Found) -> str | None:
    """Key of the entry that a file belongs to."""
    stem, dot, suffix = one.name.rpartition(".")
    return stem if f"{dot}{suffix}" in (_TENSORS, _FACTS) and not stem.startswith(".") else None


def _orphans(files: Files, found: list[Found], now: float) -> list[str]:
    names = {one.name for one in found}
    alone = [one for one in found if (key := _key(one)) and f"{key}{_FACTS}" not in names]
    return [one.name for one in alone if _settled(files, one, now)]


def _drafts(files: Files, found: list[Found], now: float) -> list[str]:
    drafts = [one for one in found if one.name.startswith(".") and one.name.endswith(".tmp")]
    return [one.name for one in drafts if _settled(files, one, now)]


def _paths(files: Files, kind: str, names: list[str]) -> list[str]:
    return [files.path(f"{kind}/{name}") for name in names]


def prune(store: Store, kinds: Collection[str] = (), now: float | None = None) -> list[str]:
    """Remove damaged entries, orphans and drafts; paths or URLs of the files that are gone come out.

    What could not be read, but may be whole, stays. Object storage has no lock to take, so what was written there
    within the last hour stays too, and an audit that runs meanwhile may miss ``kinds`` that it was about to read: clean
    a store on a URL when nobody writes to it.

    Args:
        store: To clean.
        kinds: Kinds whose entries are removed altogether: of an audit's store, "training" are weights and
            trails, most of its bytes, and "release" the signals that an audit is made from.
        now: Seconds since 1970; the clock's if not given. Counts only where there are no locks.

    Raises:
        StoreError: If a kind is not there, or something cannot be removed.
    """
    moment = time.time() if now is None else now
    there = list(_kinds(store.files))
    unknown = [kind for kind in kinds if kind not in there]
    if unknown:
        raise StoreError(f"{store.root} holds no kind {unknown[0]!r}. There are: {', '.join(there)}.")
    gone: list[str] = []
    for kind in there:
        with store.files.alone(kind):
            for key in list(store.keys(kind)):
                damage = None if kind in kinds else _damage(store, kind, key, moment)
                if kind in kinds or (damage and damage.lasting):
                    # The JSON first: a kill in between leaves an orphan, not an entry without its tensors.
                    gone += _removed(store.files, kind, [f"{key}{_FACTS}", f"{key}{_TENSORS}"])
            found = store.files.found(kind)
            left = [*_orphans(store.files, found, moment), *_drafts(store.files, found, moment)]
            gone += _removed(store.files, kind, left)
    return gone


def _removed(files: Files, kind: str, names: list[str]) -> list[str]:
    """Paths of those that were there."""
    try:
        return _paths(files, kind, [name for name in names if files.remove(f"{kind}/{name}")])
    except StoreError as problem:
        raise StoreError(f"{problem} What was removed before it is gone.") from problem
