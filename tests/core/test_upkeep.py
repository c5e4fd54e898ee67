from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from membrane.core import Store, StoreError
from membrane.core.upkeep import find_store, prune, shelves, survey
from tests.core import jobs, places

LATER = time.time() + 7200  # when nobody can be at work any more on what was written now


def filled(store: Store) -> Store:
    for number in range(3):
        jobs.save(store, f"key{number}", number)
    store.save("training", "w", {"weight": torch.zeros(100)}, {})
    return store


@pytest.fixture(params=places.STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """What is asked of this one holds wherever a store may lie."""
    with places.store_at(request.param, tmp_path / "store") as store:
        yield filled(store)


@pytest.fixture(params=places.REMOTE)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with places.store_at(request.param, tmp_path / "store") as store:
        yield filled(store)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return filled(Store(tmp_path / "store"))


def files(store: Store) -> set[str]:
    return {f"{kind}/{name}" for kind in store.files.folders() for name in store.files.names(kind)}


def put(store: Store, name: str, content: bytes) -> None:
    store.files.drafted({name: content})()


def test_shelves_say_what_lies_there(store: Store) -> None:
    numbers, training = shelves(store)
    assert (numbers.kind, numbers.n_entries, training.kind, training.n_entries) == ("numbers", 3, "training", 1)
    contents = [store.files.read(f"numbers/{name}") for name in store.files.names("numbers")]
    assert numbers.n_bytes == sum(map(len, contents)) > 3 * 20_000 * 8
    assert numbers.newest is not None
    assert numbers.oldest is not None
    assert numbers.newest <= numbers.oldest < 600


def test_a_store_is_found_in_its_run_folder(local: Store, tmp_path: Path) -> None:
    assert find_store(tmp_path).root == find_store(local.root).root == local.root
    (tmp_path / "other").mkdir()
    for nothing in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="holds no store"):
            find_store(nothing)


def test_a_store_is_found_under_a_url(tmp_path: Path) -> None:
    with places.store_at("memory", tmp_path) as store:
        run = store.root.removesuffix("/store")
        with pytest.raises(StoreError, match="holds no store"):
            find_store(run)
        filled(store)
        assert find_store(run).root == find_store(f"{store.root}/").root == store.root


def test_a_sound_store_has_nothing_to_remove(store: Store) -> None:
    before, watched = files(store), []
    found = survey(store, lambda done, total: watched.append((done, total)))
    assert (found.n_entries, found.damaged, found.orphans, found.drafts) == (4, (), (), ())
    assert watched == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert prune(store) == []
    assert files(store) == before


def test_what_is_damaged_or_left_over_is_told_and_removed_and_nothing_else(store: Store) -> None:
    whole = files(store)
    places.damage(store, "numbers/key0.safetensors", lambda content: content[:-1])
    places.damage(store, "numbers/key1.json", lambda content: b"{")
    store.files.remove("training/w.json")
    draft = "numbers/.key9.json.1.1.tmp"
    put(store, draft, b"{")
    found = survey(store, now=LATER)
    assert [(one.key, one.lasting) for one in found.damaged] == [("key0", True), ("key1", True)]
    assert found.orphans == (store.path("training", "w"),)
    assert found.drafts == (store.files.path(draft),)
    gone = prune(store, now=LATER)
    kept = {"numbers/.lock", "training/.lock", "numbers/key2.json", "numbers/key2.safetensors"}
    assert files(store) == kept
    assert set(gone) == {store.files.path(name) for name in whole - kept - {"training/w.json"} | {draft}}
    assert survey(store, now=LATER).damaged == ()
    jobs.check_whole(store, "key2")


def test_what_was_just_written_is_left_alone_where_no_lock_tells_of_writers(remote: Store) -> None:
    places.damage(remote, "numbers/key0.safetensors", lambda content: content[:-1])
    remote.files.remove("training/w.json")
    put(remote, "numbers/.key9.json.1.1.tmp", b"{")
    before, found = files(remote), survey(remote)
    assert [(one.key, one.lasting) for one in found.damaged] == [("key0", False)]
    assert "less than an hour ago" in found.damaged[0].problem
    assert (found.orphans, found.drafts) == ((), ())
    assert prune(remote) == []
    assert files(remote) == before
    assert len(prune(remote, now=LATER)) == 4


def test_what_cannot_be_reached_may_be_whole_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading fails as the line to the storage does, listing does not."""
    with places.store_at("memory", tmp_path) as store:
        filled(store)
        before = files(store)

        def cut(*arguments: object) -> bytes:
            raise ConnectionError("the line is cut")

        monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", cut)
        found = survey(store, now=LATER).damaged
        assert [one.lasting for one in found] == [False] * 4
        assert "the line is cut" in found[0].problem
        assert prune(store, now=LATER) == []
        assert files(store) == before


def test_an_entry_that_somebody_removes_meanwhile_is_no_damage(store: Store) -> None:
    found = survey(store, lambda done, total: [store.files.remove("numbers/key2.json")], now=LATER)
    assert found.damaged == ()
    assert found.orphans == (store.path("numbers", "key2"),)


def test_a_kind_can_be_removed_and_one_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="There are: numbers, training"):
        prune(store, ["weights"])
    assert len(prune(store, ["training"])) == 2
    assert list(store.keys("training")) == []
    assert len(list(store.keys("numbers"))) == 3


def test_folders_that_no_store_wrote_are_left_alone(store: Store) -> None:
    mine = [f"downloads/{name}" for name in ("model.safetensors", "config.json", ".x.tmp")]
    for name in mine:
        put(store, name, b"mine")
    store.files.remove("downloads/.lock")
    assert survey(store, now=LATER).n_entries == 4
    assert prune(store, now=LATER) == []
    assert files(store) >= set(mine)


def test_what_cannot_be_read_may_be_whole_and_stays(local: Store) -> None:
    """A folder in the place of the tensors: reading gives an error of the system's, not wrong content."""
    store, path = local, Path(local.path("numbers", "key0"))
    path.unlink()
    path.mkdir()
    (found,) = survey(store).damaged
    assert not found.lasting
    assert prune(store) == []
    assert store.has("numbers", "key0")


def test_a_writer_at_work_is_waited_for(local: Store) -> None:
    """Between its two files an entry looks damaged to whoever reads without the lock."""
    store, path = local, Path(local.path("numbers", "key0"))
    content, seen = path.read_bytes(), []
    with store.files.alone("numbers"):
        path.write_bytes(b"half")
        reader = threading.Thread(target=lambda: seen.append((survey(store), prune(store))))
        reader.start()
        time.sleep(0.3)
        path.write_bytes(content)
    reader.join(timeout=30)
    ((found, gone),) = seen
    assert (found.damaged, gone) == ((), [])
    jobs.check_whole(store, "key0")


@pytest.mark.parametrize("moment", [0, 4_000_000_000])
def test_entries_do_not_depend_on_the_clock(local: Store, moment: int) -> None:
    store = local
    for path in Path(store.root).rglob("*"):
        os.utime(path, (moment, moment))
    assert survey(store).damaged == ()
    assert prune(store) == []
    assert [shelf.n_entries for shelf in shelves(store)] == [3, 1]
    jobs.save(store, "key0", 7)
    jobs.check_whole(store, "key0")


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    with places.small_disk(tmp_path / "disk", 600) as disk:
        store = Store(disk)
        with pytest.raises(StoreError, match=r"No space left on device.*bytes are free there; free some"):
            jobs.save_many(store, 100)
        kept = list(store.keys("numbers"))
        assert 1 <= len(kept) < 10
        for key in kept:
            jobs.check_whole(store, key)
        found = survey(store)
        assert (found.damaged, found.orphans, found.drafts) == ((), (), ())
        store.files.remove(f"numbers/{kept[0]}.json")  # some room again
        prune(store)
        jobs.save(store, "later", 1)


def test_a_read_only_disk_can_be_read_and_verified_but_not_written(local: Store) -> None:
    store = local
    places.damage(store, "numbers/key1.json", lambda content: b"{")
    with places.read_only(Path(store.root)):
        jobs.check_whole(store, "key0")
        assert [one.key for one in survey(store).damaged] == ["key1"]
        assert [shelf.n_entries for shelf in shelves(store)] == [3, 1]
        for act in (lambda: jobs.save(store, "new", 1), lambda: prune(store)):
            with pytest.raises(StoreError, match="Read-only file system"):
                act()
    prune(store)
    assert survey(store).damaged == ()
