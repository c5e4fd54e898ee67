"""What is particular about stores on a URL; what they share with folders is in test_store and test_upkeep."""

from __future__ import annotations

import random
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import fsspec
import pytest
import torch
from fsspec.registry import _registry as known

from membrane.core import Store, StoreError
from membrane.core.errors import UnreadableError
from membrane.core.files import Folder
from membrane.core.remote import Remote
from membrane.core.upkeep import prune, survey
from tests import processes
from tests.core import jobs, places, s3

LATER = time.time() + 7200


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Store]:
    with places.store_at("memory", tmp_path) as store:
        yield store


def test_a_url_of_this_machines_files_is_a_folder_with_its_locks(tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/a", f"local://{tmp_path}/a"):
        store = Store(url)
        assert isinstance(store.files, Folder)
        assert store.root == str(tmp_path / "a")


@pytest.mark.parametrize("url", ["memory://a/b/", "memory://a/b"])
def test_a_slash_at_the_end_makes_no_other_place(url: str) -> None:
    assert Store(url).root == "memory://a/b"
    assert Store(url).path("kind", "key") == "memory://a/b/kind/key.safetensors"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nothing://bucket/x", r"Protocol not known: nothing.*s3://bucket/prefix"),
        ("simplecache::memory://x", "chains several places"),
        ("sftp://me:secret@host/x", r"holds a password.*configuration"),
        (Path("s3://bucket/x"), "before it went through pathlib"),
        ("memory://", None),
    ],
)
def test_a_url_that_cannot_be_a_store_is_refused_at_once(url: str | Path, said: str | None) -> None:
    if said is None:
        assert Store(url).root == url
        return
    with pytest.raises(StoreError, match=said) as refusal:
        Store(url)
    assert "secret" not in str(refusal.value)


def test_what_has_to_be_installed_is_named() -> None:
    with mock.patch.dict(sys.modules, {"fsspec.core": None}), pytest.raises(StoreError, match=r"membrane\[remote\]"):
        Store("memory://x")
    missing = mock.patch.dict(known, clear=True), mock.patch.dict(sys.modules, {"s3fs": None})
    with missing[0], missing[1], pytest.raises(StoreError, match=r"Install s3fs.*with pip"):
        Store("s3://bucket/x")


def test_a_missing_bucket_is_told_and_not_made() -> None:
    """What stands where a bucket would, the first part of the path, is missing."""
    top = f"/no-such-bucket-{uuid.uuid4().hex}"
    store = Store(Remote(f"file://{top}/x"))
    assert list(store.keys("kind")) == []
    with pytest.raises(StoreError, match=r"cannot write .*FileNotFoundError.*Make the bucket first"):
        store.ready("kind")
    assert not Path(top).exists()


def test_refused_rights_and_cut_lines_are_told_with_what_to_do(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.save(memory, "key", 1)
    system = "fsspec.implementations.memory.MemoryFileSystem"
    for problem, said in ((PermissionError("Access Denied"), "may list, read, write"), (TimeoutError(), "reaches it")):

        def refuse(*arguments: object, problem: Exception = problem, **settings: object) -> None:
            raise problem

        for method, act in (
            ("pipe_file", lambda: Store(memory.root).ready("numbers")),
            ("pipe_file", lambda: jobs.save(memory, "key", 1)),
            ("info", lambda: memory.has("numbers", "key")),
            ("ls", lambda: memory.keys("numbers")),
            ("cat_file", lambda: memory.load("numbers", "key")),
            ("rm_file", lambda: memory.files.remove("numbers/key.json")),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(f"{system}.{method}", refuse)
                with pytest.raises(StoreError, match=f"{type(problem).__name__}.*{said}") as refusal:
                    act()
                assert isinstance(refusal.value, UnreadableError) == (method == "cat_file")
    jobs.check_whole(memory, "key")


def test_what_others_write_is_seen_at_once(memory: Store) -> None:
    """fsspec keeps listings unless it is told not to."""
    mine, theirs = Store(memory.root), Store(memory.root)
    assert list(mine.keys("numbers")) == []
    assert not mine.has("numbers", "key")
    jobs.save(theirs, "key", 1)
    assert list(mine.keys("numbers")) == ["key"]
    assert mine.has("numbers", "key")
    system, _ = mine.files._opened()  # type: ignore[attr-defined]
    assert system.dircache.use_listings_cache is False


def test_a_store_may_be_copied_from_a_folder_to_a_url_and_back(memory: Store, tmp_path: Path) -> None:
    local = Store(tmp_path / "here")
    jobs.save_many(local, 2)
    system = fsspec.filesystem("memory")
    system.put(f"{local.root}/", f"{memory.root}/", recursive=True)
    system.get(f"{memory.root}/", str(tmp_path / "back"), recursive=True)
    for store in (memory, Store(tmp_path / "back")):
        assert survey(store).n_entries == 2
        jobs.check_whole(store, "key1")


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, 1])
def test_a_kill_between_tensors_and_json_leaves_no_entry(tmp_path: Path, before: int | None) -> None:
    """Also where an older entry is replaced: its JSON would not fit the new tensors."""
    store = Store(Remote(f"file://{tmp_path}/store"))
    if before is not None:
        jobs.save(store, "key", before)
    process = processes.start(jobs.save_and_die_before_the_json, store.root)
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert store.files.names("numbers") == [".lock", "key.safetensors"]
    assert not store.has("numbers", "key")
    assert (list(store.keys("numbers")), store.verify()) == ([], [])
    assert survey(store).orphans == ()  # its writer may live
    assert survey(store, now=LATER).orphans == (store.path("numbers", "key"),)
    assert prune(store, now=LATER) == [store.path("numbers", "key")]
    jobs.save(store, "key", 3)
    jobs.check_whole(store, "key")


def test_two_writers_whose_bits_differ_are_told_by_the_checksum(memory: Store) -> None:
    """Each puts tensors, then JSON; in between their files are those of two machines."""
    puts = []
    for bits in (1.0, 2.0):
        other = Store(f"memory://other-{bits}{id(memory)}")
        other.save("training", "key", {"w": torch.full((3,), bits)}, {})
        files = {name: other.files.read(name) for name in ("training/key.safetensors", "training/key.json")}
        puts.append({name: memory.files.drafted({name: content}) for name, content in files.items()})
    first, second = puts
    for put in (first["training/key.safetensors"], second["training/key.safetensors"], first["training/key.json"]):
        put()
    with pytest.raises(StoreError, match=r"altered or damaged.*prune"):
        memory.load("training", "key")
    assert not survey(memory).damaged[0].lasting
    second["training/key.json"]()
    assert memory.load("training", "key").tensors["w"].tolist() == [2.0] * 3
    first["training/key.json"]()  # had the second been killed before its JSON
    assert survey(memory, now=LATER).damaged[0].lasting
    assert len(prune(memory, now=LATER)) == 2
    assert not memory.has("training", "key")


@pytest.mark.extras("moto", "s3fs")
def test_kills_leave_whole_entries_or_none_on_object_storage() -> None:
    clock, hits = random.Random(0), 0
    with s3.bucket() as url:
        store = Store(f"{url}/store")
        for kill in range(5):
            process = processes.start(jobs.save_forever_at, store.root, s3.environment(), 1000 * kill)
            while max(stored_numbers(store), default=-1) < 1000 * kill:
                assert process.is_alive()
            hits += processes.kill_at_random(process, clock, 0.3)
            time.sleep(0.2)  # what was under way to the server arrives or does not
            assert store.verify() == []
            for key in store.keys("numbers"):
                jobs.check_whole(store, key)
        assert hits == 5


def stored_numbers(store: Store) -> Iterator[int]:
    for key in store.keys("numbers"):
        with suppress(StoreError):  # just being replaced
            yield store.facts("numbers", key)["number"]


@pytest.mark.extras("moto", "s3fs")
def test_object_storage_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.bucket() as url:
        missing = Store(f"{url}-missing/store")
        assert list(missing.keys("kind")) == []
        with pytest.raises(StoreError, match=r"Make the bucket first"):
            missing.ready("kind")
        assert not fsspec.filesystem("s3").exists(f"{url}-missing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
        fsspec.filesystem("s3").clear_instance_cache()
        with pytest.raises(StoreError, match=r"cannot .*See whether this machine reaches it"):
            Store(f"{url}/store").ready("kind")
        monkeypatch.undo()
        fsspec.filesystem("s3").clear_instance_cache()
