"""Data on disk are the data in memory: the same examples, checksums, batches, weights and signals."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from membrane.core.errors import DataError, MembraneError, StoreError
from membrane.core.generators import torch_generator
from membrane.data import CANARIES, Digits, Examples, OnDisk, Parquet, Unique, from_arrays, from_npy, make_task
from membrane.data import inputs as inputs_module
from membrane.data import on_disk as on_disk_module
from membrane.data.duplicates import find_duplicates
from membrane.data.examples import joined
from membrane.data.inputs import Npy, Rows, concatenated
from membrane.data.loader import Loader
from membrane.models import MLP, ResNet, signals_of
from membrane.models.model import Normalization
from membrane.regions.edited import edited
from membrane.training import Recipe, fit
from membrane.training.keys import training_key
from tests.data import sources

SHAPES: dict[str, tuple[tuple[int, ...], type]] = {
    "pixels": ((41, 3, 6, 5), np.uint8),
    "images": ((41, 1, 6, 5), np.float32),
    "features": ((41, 7), np.float32),
    "bits": ((41, 7), np.uint8),
}


def both(folder: Path, kind: str, n_files: int = 3) -> tuple[Examples, Examples]:
    """The same examples in memory and on disk, in several files."""
    shape, dtype = SHAPES[kind]
    rng = np.random.default_rng(3)
    x = (
        rng.integers(0, 2 if kind == "bits" else 256, shape, dtype=np.uint8)
        if dtype is np.uint8
        else rng.normal(size=shape).astype(np.float32)
    )
    y = np.arange(len(x)) % 3
    files = []
    for i, part in enumerate(np.array_split(x, n_files)):
        files.append(folder / f"{kind}-{i}.npy")
        np.save(files[-1], part)
    return from_arrays(x, y), from_npy(files, y)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows at a time, so that small data take several pieces, the last one shorter."""
    monkeypatch.setattr(inputs_module, "PIECE", 500)


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Examples, Examples]:
    return both(tmp_path, request.param)


def test_choosing_reads_nothing_and_gives_the_same_rows(pair: tuple[Examples, Examples]) -> None:
    memory, disk = pair
    assert isinstance(disk.x, Rows)
    assert (disk.x.shape, disk.x.dtype, disk.x.ndim, disk.x.nbytes, len(disk.x)) == (
        memory.x.shape,
        memory.x.dtype,
        memory.x.ndim,
        memory.x.nbytes,
        len(memory.x),
    )
    generator = torch_generator(0)
    shuffled = torch.randperm(41, generator=generator)
    for chosen in (slice(None), slice(5, 20), slice(40, 41), shuffled, shuffled[:9], torch.tensor([7, 7, 8, 0])):
        part = disk[chosen]
        assert isinstance(part.x, Rows)
        assert torch.equal(part.x[:], memory[chosen].x)
        assert part.checksum() == memory[chosen].checksum()
        assert torch.equal(
            part[shuffled[: len(part)] % len(part)].x[:], memory[chosen].x[shuffled[: len(part)] % len(part)]
        )


def test_a_selection_holds_an_index_and_no_inputs(tmp_path: Path) -> None:
    _, disk = both(tmp_path, "pixels")
    half = disk[torch.arange(0, 41, 2)]
    assert isinstance(half.x, Rows)
    assert isinstance(disk.x, Rows)
    assert half.x.parts is disk.x.parts
    assert not any(isinstance(part, torch.Tensor) for part in half.x.parts)


@pytest.mark.parametrize("kind", CANARIES)
def test_canaries_are_the_same(pair: tuple[Examples, Examples], kind: str) -> None:
    memory, disk = (CANARIES.make(kind).plant(one, 6, torch_generator(1)) for one in pair)
    assert disk.index.tolist() == memory.index.tolist()
    assert torch.equal(disk.examples.x[:], memory.examples.x)
    assert disk.examples.checksum() == memory.examples.checksum() != pair[0].checksum()
    again = disk.examples[torch.arange(40, 10, -1)]
    assert torch.equal(again.x[:], memory.examples.x[torch.arange(40, 10, -1)])


def test_joined_parts_on_disk_and_in_memory(pair: tuple[Examples, Examples]) -> None:
    memory, disk = pair
    expected = joined(memory[30:], memory[:7])
    for first, second in ((disk, memory), (memory, disk), (disk, disk)):
        assert joined(first[30:], second[:7]).checksum() == expected.checksum()
    planted = CANARIES.make("mislabelled").plant(disk, 3, torch_generator(0)).examples
    assert torch.equal(concatenated([planted.x, disk.x, memory.x])[:], torch.cat([memory.x, memory.x, memory.x]))


@pytest.mark.parametrize("near", [None, 0.9])
def test_duplicates_are_found_all_the_same(tmp_path: Path, near: float | None) -> None:
    memory, disk = both(tmp_path, "pixels")
    at = torch.tensor([3, 9, 3, 20, 9, 1])
    noisy = (memory.x[5:8].int() + 2).clamp(0, 255).to(torch.uint8)
    parts = []
    for one in (memory, disk):
        odd = Examples(noisy, one.y[:3], one.classes)
        parts.append({"a": one[at], "b": one[8:22], "c": joined(odd, one[30:])})
    found, expected = (find_duplicates(part, ["a"], near) for part in (parts[1], parts[0]))
    assert [(d.first, d.second, d.near, d.pairs.tolist()) for d in found] == [
        (d.first, d.second, d.near, d.pairs.tolist()) for d in expected
    ]
    assert len(found) >= 2


@pytest.mark.parametrize("room", [None, 0, 10**9])
@pytest.mark.parametrize("augment", [False, True])
def test_batches_are_the_same_wherever_the_data_lie(tmp_path: Path, room: int | None, augment: bool) -> None:
    memory, disk = both(tmp_path, "pixels")
    for row in (memory, disk):
        loaders = [Loader(memory, 8, augment), Loader(row, 8, augment, room=room)]
        orders = [torch_generator(4), torch_generator(4)]
        for _ in range(2):
            epochs = [list(loader.epoch(order)) for loader, order in zip(loaders, orders, strict=True)]
            for expected, got in zip(*epochs, strict=True):
                assert torch.equal(got.x, expected.x)
                assert torch.equal(got.y, expected.y)
                assert torch.equal(got.index, expected.index)


def test_statistics_equal_those_of_all_inputs_at_once(pair: tuple[Examples, Examples]) -> None:
    memory = pair[0]
    nets = [Normalization(memory.x.shape[1]) for _ in range(2)]
    for net, one in zip(nets, pair, strict=True):
        net.fit(one.x)
    assert torch.equal(nets[0].mean, nets[1].mean)
    assert torch.equal(nets[0].std, nets[1].std)
    x = memory.x.double() / (255 if memory.x.dtype == torch.uint8 and memory.x.ndim == 4 else 1)
    std, mean = torch.std_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
    torch.testing.assert_close(nets[1].mean, mean.float(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(nets[1].std, std.float(), rtol=1e-6, atol=1e-7)
    nets[0].fit(torch.full((41, *memory.x.shape[1:]), 0.1))
    assert nets[0].std.unique().tolist() == [1]  # of what never varies, pieces or not


@pytest.mark.parametrize("kind", ["pixels", "features"])
def test_weights_signals_and_keys_are_the_same_bit_for_bit(tmp_path: Path, kind: str) -> None:
    model = ResNet(widths=(4, 8), blocks=(1, 1)) if kind == "pixels" else MLP(widths=(8,))
    recipe = Recipe(model=model, epochs=3, batch_size=8, augment=kind == "pixels")
    trained = [fit(recipe, one, None, seed=5) for one in both(tmp_path, kind)]
    for (name, value), other in zip(
        trained[0].model.state_dict().items(), trained[1].model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    signals = [signals_of(one.model, one.members, 10) for one in trained]
    again = [edited(one.model, one.model.state_dict(), one.members.x, one.augment) for one in trained]
    signals += [signals_of(again[0], trained[0].members, 10), signals_of(again[1], trained[1].members, 10)]
    for name, values in signals[0].arrays().items():
        assert np.array_equal(values, signals[1].arrays()[name])
        assert np.array_equal(signals[2].arrays()[name], signals[3].arrays()[name])


def test_signals_of_many_logits_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, _ = both(tmp_path, "features")
    net = MLP(widths=(4,)).build(memory, torch_generator(0))
    whole = signals_of(net, memory, 4)
    monkeypatch.setattr("membrane.models.signals._LOGITS", 30)
    for name, values in signals_of(net, memory, 4).arrays().items():
        np.testing.assert_allclose(values, whole.arrays()[name], rtol=1e-6, atol=1e-7)


def written(folder: Path, n: int = 60, side: int = 6) -> Parquet:
    """Parquet files of random images, the test split in a file of its own."""
    rng = np.random.default_rng(n)
    for part, rows in (("train", n), ("test", n // 3)):
        images = [sources.encoded(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(rows)]
        table = pa.table({"image": images, "label": (np.arange(rows) % 4).tolist()})
        pq.write_table(table, folder / f"{part}-0.parquet", row_group_size=16)
    return Parquet(str(folder / "*.parquet"))


@pytest.mark.parametrize("name", ["image_folder", "parquet", "digits", "table"])
def test_a_folder_of_arrays_holds_what_its_source_holds(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk_module, "_FILE", 2_000)
    source = sources.ROWS[name](tmp_path)
    expected, got = source.load(), OnDisk(str(tmp_path / "arrays"), source).load()
    again = OnDisk(str(tmp_path / "arrays"), source).load()
    for part, there, twice in zip(expected, got, again, strict=True):
        assert isinstance(there.x, Rows)
        assert there.checksum() == part.checksum() == twice.checksum()
        assert torch.equal(there.x[:], part.x[:])
        assert there.source == part.source


def test_a_task_and_its_training_keys_are_the_same(tmp_path: Path) -> None:
    source = written(tmp_path)
    tasks = [
        make_task(one.load(), n_models=4, pool=40, holdout=10, canaries=5, seed=1, canary_kind="near_duplicate")
        for one in (source, OnDisk(str(tmp_path / "arrays"), source))
    ]
    assert tasks[0].checksum() == tasks[1].checksum()
    recipe = Recipe(model=MLP())
    assert training_key(recipe, tasks[0], 0, 2) == training_key(recipe, tasks[1], 0, 2)
    cut = Unique(OnDisk(str(tmp_path / "arrays"), source)).load()
    assert isinstance(cut.train.x, Rows)
    assert cut.train.checksum() == Unique(source).load().train.checksum()


def test_progress_counts_examples_and_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk_module, "_FILE", 10 * 108)
    told: list[tuple[str, float, float]] = []
    OnDisk(str(tmp_path / "arrays"), written(tmp_path)).prepare(lambda *one: told.append(one))
    assert told == [("decode", done, 80) for done in range(10, 90, 10)]
    assert len(list((tmp_path / "arrays").glob("x-*.npy"))) == 8
    assert not (tmp_path / "arrays" / "unfinished.json").exists()


def test_a_source_around_it_prepares_it_too(tmp_path: Path) -> None:
    told: list[str] = []
    Unique(OnDisk(str(tmp_path / "arrays"), written(tmp_path))).prepare(lambda what, done, total: told.append(what))
    assert told == ["decode"]
    Unique(Digits()).prepare()
    assert (tmp_path / "arrays" / "data.json").is_file()


def test_after_a_kill_the_next_call_goes_on_with_the_next_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = written(tmp_path), tmp_path / "arrays"
    program = f"""
        import os, signal
        from membrane.data import OnDisk, Parquet, on_disk
        on_disk._FILE = 10 * 108
        def told(what, done, total):
            if done >= 30:
                os.kill(os.getpid(), signal.SIGKILL)
        OnDisk({str(folder)!r}, Parquet({source.path!r})).prepare(told)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (folder / "data.json").exists()
    before = {file: file.stat().st_mtime_ns for file in folder.glob("x-*.npy")}
    assert len(before) == 3
    (folder / "x-00002.npy").write_bytes((folder / "x-00002.npy").read_bytes()[:-1])
    monkeypatch.setattr(on_disk_module, "_FILE", 10 * 108)
    splits = OnDisk(str(folder), source).load()
    assert [one.checksum() for one in splits] == [one.checksum() for one in source.load()]
    kept = [file for file, time in before.items() if file.stat().st_mtime_ns == time]
    assert sorted(file.name for file in kept) == ["x-00000.npy", "x-00001.npy"]


def test_a_disk_without_room_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OnDisk(str(tmp_path / "arrays"), written(tmp_path))
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: real._replace(free=80 * 108))
    with pytest.raises(StoreError, match=r"the inputs take 8,640 bytes in .*, and 8,640 are free"):
        source.load()
    assert not list((tmp_path / "arrays").glob("x-*"))


def test_other_files_or_settings_are_refused_and_files_no_longer_there_are_not_missed(tmp_path: Path) -> None:
    source, folder = written(tmp_path), str(tmp_path / "arrays")
    expected = OnDisk(folder, source).load().train.checksum()
    with pytest.raises(DataError, match=r"was made from other files or settings.*Delete it"):
        OnDisk(folder, dataclasses.replace(source, colour="grey")).load()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in tmp_path.glob("*.parquet"):
        shutil.move(file, moved)
    gone = OnDisk(folder, source)
    assert gone.missing() == []
    assert gone.load().train.checksum() == expected
    assert OnDisk(folder, Parquet(str(moved / "*.parquet"))).load().train.checksum() == expected
    written(tmp_path, 63)
    with pytest.raises(DataError, match="was made from other files"):
        OnDisk(folder, source).load()
    assert "there is no file" in OnDisk(str(tmp_path / "new"), Parquet(str(tmp_path / "none.parquet"))).missing()[0]


def test_images_of_two_sizes_are_refused_across_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk_module, "_FILE", 10 * 108)
    images = [sources.encoded(np.zeros((side, side, 3), np.uint8)) for side in [6] * 20 + [7] * 10]
    pq.write_table(
        pa.table({"image": images, "label": [0, 1] * 15, "split": ["train", "test"] * 15}), tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"inputs 20 and following are \(3, 7, 7\), the first is \(3, 6, 6\)"):
        OnDisk(str(tmp_path / "arrays"), Parquet(str(tmp_path / "a.parquet"))).load()


def damages(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    facts = json.loads((folder / "data.json").read_text())
    for change in (
        {"files": []},
        {"files": [3]},
        {"files": ["../../etc/passwd"]},
        {"files": facts["files"] * 2},
        {"classes": None},
        {"classes": [1]},
        {"classes": ["a"]},
        {"labels": "0" * 64},
        {"title": 5},
    ):
        yield "data.json", json.dumps(facts | change).encode(), (StoreError, DataError)
    yield "data.json", b"[]", StoreError
    yield "data.json", b"{", StoreError
    yield "data.json", None, StoreError
    yield "x-00000.npy", None, DataError
    content = (folder / "x-00000.npy").read_bytes()
    yield "x-00000.npy", content[:-1], DataError
    yield "x-00000.npy", content[:-1] + bytes([content[-1] ^ 1]), StoreError
    yield "labels.safetensors", (folder / "labels.safetensors").read_bytes()[:-8], StoreError


def test_a_damaged_folder_is_refused_in_words(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    OnDisk(str(whole), written(tmp_path)).prepare()
    for name, content, kinds in damages(whole):
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(kinds):
            on_disk_module.opened(folder)
        shutil.rmtree(folder)


def test_a_file_that_changes_while_in_use_is_not_read_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 2), np.float32))
    examples = from_npy(tmp_path / "x.npy", [0, 1, 0, 1, 0])
    examples.x[:2]
    np.save(tmp_path / "x.npy", np.ones((6, 2), np.float32))
    with pytest.raises(DataError, match="has changed since it was opened"):
        examples.checksum()
    (tmp_path / "x.npy").unlink()
    with pytest.raises(DataError, match=r"cannot read .* any more"):
        examples.x[:2]


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 2)), "no .npy file of numbers that fit"),
        (np.zeros((3, 2), ">f4"), "no .npy file of numbers that fit"),
        (np.asfortranarray(np.zeros((3, 2), np.float32)), "no .npy file of numbers that fit"),
        (np.array([Evil()], dtype=object), "no .npy file of numbers that fit"),
        (np.zeros(3, np.float32), r"holds inputs of shape \(3,\)"),
        (
            np.array([[1, 2], [np.nan, 0], [0, np.inf]], np.float32),
            "2 inputs hold NaN or infinity, the first is number 1",
        ),
        (np.zeros((0, 2), np.float32), r"holds inputs of shape \(0, 2\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=said):
        from_npy(tmp_path / "x.npy", [0, 1, 0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x01\x00\x50\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999, 9), }\n   ",
        b"\x93NUMPY\x01\x00\x4c\x00{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 99999), }\n",
        b"PK\x03\x04",
    ],
)
def test_what_is_no_npy_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError):
        Npy.opened(tmp_path / "x.npy")
    with pytest.raises(DataError, match="cannot read"):
        Npy.opened(tmp_path)
    with pytest.raises(MembraneError):
        Npy.opened("a\0b")


def test_a_digits_set_on_disk_needs_no_path(tmp_path: Path) -> None:
    assert OnDisk(str(tmp_path), Digits()).load().test.checksum() == Digits().load().test.checksum()
