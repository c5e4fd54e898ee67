"""Upkeep of a store: what lies in it, what is damaged or left over, and the removal of that.

Safe beside running writers: whatever looks wrong is looked at again with the writers' lock in hand, and nothing
is removed without it. Only folders that a store has written to (they hold its lock file) are ever touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from membrane.core.errors import StoreError, collected
from membrane.core.store import LOCK, Store, alone

_TENSORS = ".safetensors"


@dataclass(frozen=True)
class Shelf:
    """The entries of one kind.

    Args:
        kind: Its name.
        n_entries: Whole or damaged; an entry is there when its JSON is.
        n_bytes: Of all its files.
        newest: Seconds since its newest entry was written, by the file system's clock, which may have been
            changed: for people to read. None if there is no entry.
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
        lasting: Whether its files hold something wrong; else they could not be read, which may pass.
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
        orphans: Tensors without the JSON that would make them an entry: their writer was killed.
        drafts: Files that a killed writer had not finished.
    """

    n_entries: int
    n_bytes: int
    damaged: tuple[Damage, ...]
    orphans: tuple[Path, ...]
    drafts: tuple[Path, ...]


def find_store(folder: Path) -> Store:
    """The store in a run folder, or the folder itself if it is one.

    Raises:
        StoreError: If there is none.
    """
    for root in (folder / "store", folder):
        if next(_folders(root), None) is not None:
            return Store(root)
    raise StoreError(f"{folder} holds no store. Name the --out folder of `membrane audit`, or the store in it.")


def _folders(root: Path) -> Iterator[Path]:
    """Folders that a store has written to, by name."""
    return (path.parent for path in sorted(root.glob(f"*/{LOCK}")))


def shelves(store: Store, now: float | None = None) -> list[Shelf]:
    """What lies in a store, by kind, without reading it.

    Args:
        store: To look at.
        now: Seconds since 1970; the clock's if not given.
    """
    return [_shelf(folder, time.time() if now is None else now) for folder in _folders(store.root)]


def _shelf(folder: Path, now: float) -> Shelf:
    entries, n_bytes, ages = 0, 0, []
    for path in folder.iterdir():
        try:
            facts = path.stat()
        except OSError:  # just being replaced
            continue
        n_bytes += facts.st_size
        if path.suffix == ".json" and not path.name.startswith("."):
            entries += 1
            ages.append(now - facts.st_mtime)
    return Shelf(folder.name, entries, n_bytes, min(ages, default=None), max(ages, default=None))


def survey(store: Store, watch: Callable[[int, int], None] = lambda done, total: None) -> Survey:
    """Read every entry of a store.

    Args:
        store: To look at; nothing in it is changed.
        watch: Called with entries read and in total.
    """
    entries = [(folder.name, key) for folder in _folders(store.root) for key in store.keys(folder.name)]
    damaged, n_bytes = [], 0
    for done, (kind, key) in enumerate(entries, 1):
        damage = _damage(store, kind, key) and _again(store, kind, key)
        damaged += [damage] if damage else []
        n_bytes += sum(path.stat().st_size for path in _files(store, kind, key) if path.exists())
        watch(done, len(entries))
    orphans, drafts = [], []
    for folder in _folders(store.root):
        with _quiet(folder):
            orphans += _orphans(folder)
            drafts += _drafts(folder)
    return Survey(len(entries), n_bytes, tuple(damaged), tuple(orphans), tuple(drafts))


def _damage(store: Store, kind: str, key: str) -> Damage | None:
    try:
        store.load(kind, key)
    except StoreError as problem:
        cause = problem.__cause__
        lasting = not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError)
        return Damage(kind, key, str(problem), lasting)
    return None


def _again(store: Store, kind: str, key: str) -> Damage | None:
    """Damage that is still there when no writer is at work: one may have been between its two files."""
    with _quiet(store.root / kind):
        return _damage(store, kind, key) if store.has(kind, key) else None


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """The folder's lock if it can be had; a store that cannot be written to has no writers to wait for."""
    with ExitStack() as held:
        with collected([]):
            held.enter_context(alone(folder / LOCK))
        yield


def _files(store: Store, kind: str, key: str) -> tuple[Path, Path]:
    path = store.path(kind, key)
    return path, path.with_suffix(_TENSORS)


def _orphans(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob(f"[!.]*{_TENSORS}")) if not path.with_suffix(".json").exists()]


def _drafts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.tmp"))


def prune(store: Store, kinds: Collection[str] = ()) -> list[Path]:
    """Remove damaged entries, orphans and drafts; the files that are gone come out.

    What could not be read, but may be whole, stays.

    Args:
        store: To clean.
        kinds: Kinds whose entries are removed altogether: of an audit's store, "training" are weights and
            trails, most of its bytes, and "release" the signals that an audit is made from.

    Raises:
        StoreError: If a kind is not there, or something cannot be removed.
    """
    found = {folder.name: folder for folder in _folders(store.root)}
    unknown = [kind for kind in kinds if kind not in found]
    if unknown:
        raise StoreError(f"{store.root} holds no kind {unknown[0]!r}. There are: {', '.join(found)}.")
    gone: list[Path] = []
    for kind, folder in found.items():
        with alone(folder / LOCK):
            for key in list(store.keys(kind)):
                damage = None if kind in kinds else _damage(store, kind, key)
                if kind in kinds or (damage and damage.lasting):
                    # The JSON first: a kill in between leaves an orphan, not an entry without its tensors.
                    gone += [path for path in _files(store, kind, key) if _removed(path)]
            gone += [path for path in [*_orphans(folder), *_drafts(folder)] if _removed(path)]
    return gone


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise StoreError(f"cannot remove {path}: {problem.strerror}. What was removed before it is gone.") from problem
    return True
