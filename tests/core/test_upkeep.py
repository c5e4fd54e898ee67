from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from membrane.core import Store, StoreError
from membrane.core.store import alone
from membrane.core.upkeep import find_store, prune, shelves, survey
from tests.core import jobs, places


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for number in range(3):
        jobs.save(store, f"key{number}", number)
    store.save("training", "w", {"weight": torch.zeros(100)}, {})
    return store


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}


def test_shelves_say_what_lies_there(store: Store) -> None:
    numbers, training = shelves(store)
    assert (numbers.kind, numbers.n_entries, training.kind, training.n_entries) == ("numbers", 3, "training", 1)
    assert numbers.n_bytes == sum(path.stat().st_size for path in (store.root / "numbers").iterdir())
    assert numbers.newest is not None
    assert numbers.oldest is not None
    assert numbers.newest <= numbers.oldest < 600


def test_a_store_is_found_in_its_run_folder(store: Store, tmp_path: Path) -> None:
    assert find_store(tmp_path).root == find_store(store.root).root == store.root
    (tmp_path / "other").mkdir()
    for nothing in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="holds no store"):
            find_store(nothing)


def test_a_sound_store_has_nothing_to_remove(store: Store) -> None:
    before, watched = files(store), []
    found = survey(store, lambda done, total: watched.append((done, total)))
    assert (found.n_entries, found.damaged, found.orphans, found.drafts) == (4, (), (), ())
    assert watched == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert prune(store) == []
    assert files(store) == before


def test_what_is_damaged_or_left_over_is_told_and_removed_and_nothing_else(store: Store) -> None:
    whole = files(store)
    path = store.path("numbers", "key0").with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    store.path("numbers", "key1").write_text("{")
    store.path("training", "w").unlink()
    draft = store.root / "numbers" / ".key9.json.1.1.tmp"
    draft.write_bytes(b"{")
    found = survey(store)
    assert [(one.key, one.lasting) for one in found.damaged] == [("key0", True), ("key1", True)]
    assert found.orphans == (store.path("training", "w").with_suffix(".safetensors"),)
    assert found.drafts == (draft,)
    gone = prune(store)
    kept = {"numbers/.lock", "training/.lock", "numbers/key2.json", "numbers/key2.safetensors"}
    assert files(store) == kept
    assert {str(path.relative_to(store.root)) for path in gone} == whole - kept - {"training/w.json"} | {
        "numbers/.key9.json.1.1.tmp"
    }
    assert survey(store).damaged == ()
    jobs.check_whole(store, "key2")


def test_a_kind_can_be_removed_and_one_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="There are: numbers, training"):
        prune(store, ["weights"])
    assert len(prune(store, ["training"])) == 2
    assert list(store.keys("training")) == []
    assert len(list(store.keys("numbers"))) == 3


def test_folders_that_no_store_wrote_are_left_alone(store: Store) -> None:
    for name in ("model.safetensors", "config.json", ".x.tmp"):
        path = store.root / "downloads" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    assert survey(store).n_entries == 4
    prune(store)
    assert len(list((store.root / "downloads").iterdir())) == 3


def test_what_cannot_be_read_may_be_whole_and_stays(store: Store) -> None:
    """A folder in the place of the tensors: reading gives an error of the system's, not wrong content."""
    path = store.path("numbers", "key0").with_suffix(".safetensors")
    path.unlink()
    path.mkdir()
    (found,) = survey(store).damaged
    assert not found.lasting
    assert prune(store) == []
    assert store.has("numbers", "key0")


def test_a_writer_at_work_is_waited_for(store: Store) -> None:
    """Between its two files an entry looks damaged to whoever reads without the lock."""
    path = store.path("numbers", "key0").with_suffix(".safetensors")
    content, seen = path.read_bytes(), []
    with alone(path):
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
def test_entries_do_not_depend_on_the_clock(store: Store, moment: int) -> None:
    for path in store.root.rglob("*"):
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
        store.path("numbers", kept[0]).unlink()  # some room again
        prune(store)
        jobs.save(store, "later", 1)


def test_a_read_only_disk_can_be_read_and_verified_but_not_written(store: Store) -> None:
    store.path("numbers", "key1").write_text("{")
    with places.read_only(store.root):
        jobs.check_whole(store, "key0")
        assert [one.key for one in survey(store).damaged] == ["key1"]
        assert [shelf.n_entries for shelf in shelves(store)] == [3, 1]
        for act in (lambda: jobs.save(store, "new", 1), lambda: prune(store)):
            with pytest.raises(StoreError, match="Read-only file system"):
                act()
    prune(store)
    assert survey(store).damaged == ()
