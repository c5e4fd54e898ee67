from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from membrane.core import Store, StoreError
from membrane.core.errors import UnreadableError
from membrane.core.files import write_bytes
from membrane.core.store import read_json, read_tensors, write_json, write_tensors
from tests import processes
from tests.core import jobs, places

TENSORS = {
    "float": torch.tensor([[1.5, -0.0], [float("inf"), float("nan")]]),
    "half": torch.arange(4, dtype=torch.bfloat16),
    "int": torch.tensor(2**62),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().untyped_storage())


@pytest.fixture(params=places.STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """What is asked of this one holds wherever a store may lie."""
    with places.store_at(request.param, tmp_path / "new" / "folder") as store:
        jobs.save(store, "key", 1)
        yield store


@pytest.fixture
def local(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    jobs.save(store, "key", 1)
    return store


def test_an_entry_comes_back_bit_for_bit(store: Store) -> None:
    facts = {"list": [1, 2.5, None, True], "text": "é", "nested": {"a": {}}}
    store.save("kind", "key", TENSORS, facts)
    entry = store.load("kind", "key")
    assert entry.facts == store.facts("kind", "key") == facts
    assert entry.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        stored = entry.tensors[name]
        assert (stored.dtype, stored.shape) == (tensor.dtype, tensor.shape)
        assert bits(stored.clone()) == bits(tensor.clone())
    assert store.verify() == []


def test_arrays_views_and_tied_tensors_are_stored_by_value(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    fixed = array.copy()
    fixed.flags.writeable = False
    given = {"whole": whole, "tied": whole, "view": whole.t()[1:], "array": array[:, ::-1], "fixed": fixed}
    write_tensors(tmp_path / "a.safetensors", given | {"scalar": np.array(3.0)})
    found = read_tensors(tmp_path / "a.safetensors")
    for name, value in given.items():
        np.testing.assert_array_equal(found[name].numpy(), np.asarray(value))
    assert found["scalar"].shape == ()
    assert found["scalar"] == 3


def test_equal_content_is_an_equal_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    sums = [write_tensors(tmp_path / name, TENSORS) for name in ("a.safetensors", "b.safetensors")]
    assert sums[0] == sums[1]


def test_entries_are_listed_and_replaced(store: Store) -> None:
    assert list(store.keys("numbers")) == ["key"]
    assert list(store.keys("nothing")) == []
    assert store.has("numbers", "key")
    assert not store.has("numbers", "other")
    jobs.save(store, "key", 2)
    assert store.facts("numbers", "key")["number"] == 2
    jobs.check_whole(store, "key")
    with pytest.raises(StoreError, match=r"cannot read .*other\.json") as refusal:
        store.load("numbers", "other")
    assert not isinstance(refusal.value, UnreadableError)


def test_a_discarded_entry_is_gone_and_the_others_stay(store: Store) -> None:
    for key in ("a", "b"):
        store.save("model", key, {"w": torch.ones(2)}, {})
    store.discard("model", "a")
    store.discard("model", "a")
    store.discard("model", "never")
    assert list(store.keys("model")) == ["b"]
    assert store.verify() == []
    assert [name for name in store.files.names("model") if not name.startswith(".")] == ["b.json", "b.safetensors"]


def test_the_files_are_the_same_bytes_everywhere(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    for one in (store, other):
        one.save("kind", "key", TENSORS, {"a": 1})
    assert store.files.names("kind") == other.files.names("kind") == [".lock", "key.json", "key.safetensors"]
    for name in store.files.names("kind"):
        assert store.files.read(f"kind/{name}") == other.files.read(f"kind/{name}")
    assert [one.n_bytes for one in store.files.found("kind")] == [one.n_bytes for one in other.files.found("kind")]


def test_a_store_can_be_sent_to_another_process(store: Store) -> None:
    sent = pickle.loads(pickle.dumps(store.absolute()))
    assert sent.root == store.root
    jobs.check_whole(sent, "key")
    jobs.save(sent, "more", 2)
    assert list(store.keys("numbers")) == ["key", "more"]


def test_an_entry_without_its_json_does_not_exist(store: Store) -> None:
    assert store.files.remove("numbers/key.json")
    assert not store.has("numbers", "key")
    assert list(store.keys("numbers")) == []
    assert store.verify() == []


def test_drafts_of_killed_writers_are_removed_and_never_listed(local: Store) -> None:
    store, folder = local, Path(local.root) / "numbers"
    mine, other = folder / ".key.safetensors.99.1.tmp", folder / ".key2.json.99.1.tmp"
    for draft in (mine, other):
        draft.write_bytes(b"half")
    assert list(store.keys("numbers")) == ["key"]
    jobs.save(store, "key", 2)
    assert not mine.exists()
    assert other.exists(), "somebody may be writing that one"


def flipped(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def torch_saved(content: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-7], "truncated"),
        (flipped, "altered"),
        (lambda content: b"", "truncated"),
        (lambda content: pickle.dumps({"weights": [1.0]}), "pickle"),
        (torch_saved, "pickle or a torch.save"),
        (None, "cannot read"),
    ],
)
def test_damaged_tensors_are_refused_and_reported(
    store: Store, damage: Callable[[bytes], bytes] | None, said: str
) -> None:
    places.damage(store, "numbers/key.safetensors", damage)
    with pytest.raises(StoreError, match=said):
        store.load("numbers", "key")
    assert len(store.verify()) == 1
    jobs.save(store, "key", 3)
    assert store.verify() == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1, 2]", '{"facts": 3, "sha256": "x"}', '{"facts": {}}', "[" * 100_000, '{"facts": {}, "sha256": 1}'],
)
def test_damaged_json_is_refused_and_reported(store: Store, content: str) -> None:
    places.damage(store, "numbers/key.json", lambda _: content.encode())
    with pytest.raises(StoreError, match=r"not JSON|not an entry"):
        store.load("numbers", "key")
    assert len(store.verify()) == 1
    jobs.save(store, "key", 3)
    assert store.verify() == []


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'"\xff"')
    with pytest.raises(StoreError, match="not JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("fact", [float("nan"), float("inf"), {1, 2}, torch.zeros(1), np.float32(1)])
def test_facts_that_json_cannot_hold_are_refused_before_anything_is_written(store: Store, fact: object) -> None:
    with pytest.raises(StoreError, match="what JSON cannot"):
        store.save("numbers", "key", {"all": torch.zeros(1)}, {"fact": fact})
    jobs.check_whole(store, "key")
    assert store.facts("numbers", "key")["number"] == 1


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StoreError, match="Unpickling runs code"):
        read_tensors(path)
    assert not (tmp_path / "sprung").exists()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere; file permissions hold for everybody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_an_error_that_leaves_it_alone() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        jobs.save(store, "key", 1)
        for path in (Path(folder), Path(folder) / "numbers"):
            path.chmod(0o555)
        try:
            with as_nobody():
                jobs.check_whole(store, "key")
                for key in ("key", "new"):
                    with pytest.raises(StoreError, match=r"cannot write .*: Permission denied.*bytes are free"):
                        jobs.save(store, key, 2)
                with pytest.raises(StoreError, match="Permission denied"):
                    write_json(Path(folder) / "a.json", 1)
                with pytest.raises(StoreError, match="Permission denied"):
                    store.save("new kind", "key", {}, {})
                with pytest.raises(StoreError, match="Permission denied"):
                    store.ready("new kind")
        finally:
            for path in (Path(folder), Path(folder) / "numbers"):
                path.chmod(0o755)
        jobs.check_whole(store, "key")
        assert store.verify() == []


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*bytes are free"):
        write_bytes(tmp_path / "file" / "a.json", b"{}")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "file").save("kind", "key", {}, {})


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Every write beyond ``n_bytes`` in a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 3_000, 50_000])
@pytest.mark.parametrize("key", ["new", "key"])
def test_a_full_disk_is_an_error_that_leaves_the_store_whole(local: Store, key: str, room: int) -> None:
    store = local
    with largest_file(room), pytest.raises(StoreError, match=r"cannot write .*bytes\): File too large"):
        jobs.save(store, key, 2)
    assert store.facts("numbers", "key")["number"] == 1
    assert list(store.keys("numbers")) == ["key"]
    assert not list(Path(store.root).rglob("*.tmp"))
    jobs.check_whole(store, "key")
    assert store.verify() == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a.json", []
    write_bytes(path, b"old")
    with largest_file(10), pytest.raises(StoreError):
        write_bytes(path, b"new" * 100)
    assert path.read_bytes() == b"old"
    real = os.fsync

    def fsync(file: int) -> None:
        seen.append(path.read_bytes())
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_leave_whole_entries_or_none(tmp_path: Path, kills: int) -> None:
    store, clock = Store(tmp_path), random.Random(0)
    for kill in range(kills):
        process = processes.start(jobs.save_forever, tmp_path, 1000 * kill)
        while max(stored_numbers(store), default=-1) < 1000 * kill:
            assert process.is_alive()
            time.sleep(0.001)
        assert processes.kill_at_random(process, clock, 0.05)
        assert store.verify() == []
        for key in store.keys("numbers"):
            jobs.check_whole(store, key)


def stored_numbers(store: Store) -> Iterator[int]:
    for key in store.keys("numbers"):
        with suppress(StoreError):  # just being replaced
            yield store.facts("numbers", key)["number"]


def test_two_writers_of_one_key_leave_one_whole_entry(tmp_path: Path) -> None:
    writers = [processes.start(jobs.save_one_key, tmp_path, start, 40) for start in (0, 1000)]
    for writer in writers:
        processes.finish(writer)
    store = Store(tmp_path)
    assert store.verify() == []
    jobs.check_whole(store, "key")
    assert store.facts("numbers", "key")["number"] in (39, 1039)
    assert not list(tmp_path.rglob("*.tmp"))


def test_damage_is_told_by_key(store: Store) -> None:
    jobs.save(store, "other", 5)
    places.damage(
        store, "numbers/key.json", lambda content: json.dumps(json.loads(content) | {"sha256": "0" * 64}).encode()
    )
    (problem,) = store.verify()
    assert "key.safetensors" in problem
    jobs.check_whole(store, "other")


@pytest.mark.parametrize("kind", ["F4", "F8_E8M0", "F6_E2M3"])
def test_numbers_of_a_type_that_torch_does_not_know_are_refused(tmp_path: Path, kind: str) -> None:
    header = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, {"F4": 4, "F6_E2M3": 6}.get(kind, 8)]}})
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(8))
    with pytest.raises(StoreError, match=r"a\.safetensors"):
        read_tensors(tmp_path / "a.safetensors")
