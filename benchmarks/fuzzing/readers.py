"""Everything in membrane that reads a file: what it is given when fuzzed, and how often."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from benchmarks.fuzzing.mutation import Files, png_chunk, toml
from membrane.cli.comparison_file import comparison_from
from membrane.cli.config import read_run, run_from
from membrane.core import Store
from membrane.core.settings import fingerprint
from membrane.core.store import read_tensors
from membrane.data import CIFAR10, CINIC10, SVHN, ImageFolder, Location30, Parquet, Table, Texas100, TinyImageNet
from membrane.data.archives.archive import Archive, Original
from membrane.data.arrays import from_npy
from membrane.data.on_disk import opened
from membrane.models.start import start_from
from membrane.regions import Trail, load_weights
from membrane.report.comparison import check_comparison
from membrane.report.comparison.curves import curves
from membrane.verbs.comparison import Comparison
from membrane.verbs.comparison.files import CELL, PLAN, PLAN_FILE
from tests.data import archives

A = TypeVar("A", bound=Archive)


@dataclass(frozen=True)
class Reader:
    """Something that reads files.

    Args:
        name: What it is called in the output.
        share: Of all inputs, out of the sum of all readers' shares.
        good: Inputs that must be accepted; mutations start from these.
        hostile: Inputs that should be refused; mutated too.
        read: Read the files in a folder; raise nothing but membrane's errors.
        sealed: The input with its checksums made right, so that what lies behind them is read.
        bombs: Hostile inputs that cost so much that they are read once, as they are.
    """

    name: str
    share: float
    good: Callable[[], list[Files]]
    hostile: Callable[[], list[Files]]
    read: Callable[[Path], object]
    sealed: Callable[[Files], Files] | None = None
    bombs: Callable[[], list[Files]] = list


class _Payload:
    """Unpickled, it would start a program."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo a pickle was run",)


def _pickled() -> bytes:
    return pickle.dumps(_Payload())


def _torch_saved() -> bytes:
    content = io.BytesIO()
    torch.save({"w": torch.ones(2), "payload": _Payload()}, content)
    return content.getvalue()


def _foreign(*names: str) -> list[Files]:
    """What is no file of any format of ours, under these names."""
    contents = (b"", b"\0" * 100, _pickled(), _torch_saved(), b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe" * 50)
    return [dict.fromkeys(names, one) for one in contents]


# Run files.

_RUN: dict[str, Any] = {
    "title": "A run", "seed": 1, "data": {"name": "digits", "test": 297},
    "model": {"name": "mlp", "widths": [32, 32]},
    "recipe": {"epochs": 6, "lr": 0.1, "batch_size": 50, "augment": False, "precision": "float32", "keep": 4},
    "defenses": ["undefended", {"name": "relaxloss", "label": "b"}, {"name": "pptp", "max_accuracy_drop": 0.05}],
    "attacks": ["loss", {"name": "lira_offline"}],
    "audit": {"references": 4, "holdout": 500, "pool": 1000, "canaries": 3, "near_duplicates": 0.9},
}  # fmt: skip
_OWN: dict[str, Any] = {"data": "digits", "train": "own:train", "audit": {"references": 4}}
_NESTED: dict[str, Any] = {
    "data": {"name": "on_disk", "folder": "d", "of": {"name": "parquet", "path": ["files/*.parquet"], "size": 8}},
    "model": "resnet18", "recipe": {"trainable": ["head"], "lora": 2}, "defenses": [{"name": "short_schedule"}],
}  # fmt: skip


def _runs() -> list[Files]:
    return [{"run.toml": toml(run).encode(), "files/a.parquet": b""} for run in (_RUN, _NESTED)]


def _plain_runs() -> list[Files]:
    return [{"run.json": json.dumps(run).encode(), "files/a.parquet": b""} for run in (_RUN, _OWN, _NESTED)]


def _bad_runs() -> list[Files]:
    deep = [b"a = " + b"[" * n + b"]" * n for n in (20, 900, 100_000)] + [
        b"a = " + b"{a=" * 5000,
        b"[a" + b".a" * 5000 + b"]",
    ]
    others = [b"data = 0x" + b"f" * 5000, b"seed = " + b"9" * 5000, b"a=1\na=2", b'title = "\\ud800"', b"a" * 1_000_000]
    return [{"run.toml": one} for one in (*deep, *others)] + _foreign("run.toml")


def _read_plain(folder: Path) -> object:
    try:
        plain = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # json's own matter
        plain = {}
    run = run_from(plain if isinstance(plain, dict) else {"data": plain}, folder)
    return run_from(run.plain(), folder)


def _read_toml(folder: Path) -> object:
    return read_run(folder / "run.toml").plain()


# Comparisons.

_SETTINGS = {"digits": {name: _RUN[name] for name in ("data", "model", "recipe", "audit")}}
_COMPARED: dict[str, Any] = {
    "title": "A comparison", "seed": 1, "seeds": 2, "settings": _SETTINGS, "attacks": ["loss"], "informed": True,
    "methods": [
        "undefended", {"name": "early_stopping", "label": "stop", "epoch": [1, 2]},
        {"name": "relaxloss", "alpha": {"low": 0.1, "high": 1, "log": True}}, {"train": "own:train", "label": "mine"},
    ],
    "search": {"trials": 3, "models": 4, "keep": 2},
}  # fmt: skip


def _comparisons() -> list[Files]:
    return [{"c.json": json.dumps(one).encode()} for one in (_COMPARED, {**_COMPARED, "methods": ["undefended", "l2"]})]


def _read_comparison(folder: Path) -> object:
    try:
        plain = json.loads((folder / "c.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # json's own matter
        plain = {}
    return comparison_from(plain if isinstance(plain, dict) else {"settings": plain}, folder)


def _cell(method: str, accuracy: float, area: float) -> dict[str, Any]:
    attack = {"auc": {"value": area, "low": area - 0.1, "high": area}, "tpr": [{"fpr": 0.01, "value": 0.1, "n": 9}]}
    leak = {"attack": "loss", "value": area, "replicates": [area, None, area]}
    return {
        "format": CELL, "of": fingerprint({}), "key": "k", "setting": "s", "method": method, "strength": "", "seed": 0,
        "accuracy": {"test": {"value": accuracy, "low": 0.1, "high": 0.9, "n": 50}, "train": {"value": 1.0}},
        "accuracy_replicates": [accuracy, None, accuracy],
        "slices": {"population": {"attacks": {"loss": attack}}},
        "leakage": {"population": {"auc": leak, "tpr@0.01": leak}},
        "task": {"source": "x", "n_models": 8, "members_per_model": 9, "canaries": 0, "test": 50},
        "attacks": [{"name": "loss", "what": "w", "source": "s", "threat_model": "scores", "queries": 1}],
        "costs": {"train": 1.0, "finish": 0.5},
    }  # fmt: skip


def _compared() -> list[Files]:
    base, ours = _cell("base", 0.8, 0.9), _cell("ours", 0.7, 0.6)
    kept = ("format", "of", "key", "setting", "method", "strength", "seed")
    failed = {name: ours[name] for name in kept} | {"failed": "loss is nan"}
    trials = [{"values": {"alpha": 1.0}, "accuracy": 0.5, "leakage": 0.6}]
    plan = {
        "format": PLAN, "title": "t", "methods": ["base", "ours"], "settings": {"s": {}}, "versions": {},
        "cells": [{n: one[n] for n in kept[3:]} | {"file": f"cells/s/{one['method']}.json"} for one in (base, ours)],
        "searches": [{"setting": "s", "method": "ours", "trials": trials}],
    }  # fmt: skip
    return [
        {
            PLAN_FILE: json.dumps(plan).encode(),
            "cells/s/base.json": json.dumps(base).encode(),
            "cells/s/ours.json": json.dumps(second).encode(),
        }
        for second in (ours, failed)
    ]


def _read_compared(folder: Path) -> object:
    done = Comparison.load(folder)
    check_comparison(done.results)
    drawn = [curves(done.results, one) for one in done.results["settings"] if one["points"]]
    return drawn, done.to_markdown()


# Tensors.


def _net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def _weights() -> list[Files]:
    odd = {
        "a": torch.ones(2, dtype=torch.bfloat16),
        "b": torch.zeros(0, 3),
        "c": torch.tensor(5),
        "d": torch.ones(3).bool(),
    }
    return [{"w.safetensors": save(one)} for one in (_net().state_dict(), odd)]


def _bad_tensors(name: str = "w.safetensors") -> list[Files]:
    def framed(length: int, text: bytes) -> Files:
        return {name: length.to_bytes(8, "little") + text}

    spans = ([0, 2**60], [2**63, 2**64 - 1], [8, 0], [0, 8])
    headers = [{"a": {"dtype": "F32", "shape": [2], "data_offsets": span}} for span in spans]
    headers += [{"a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}}]
    headers += [
        {"a": {"dtype": kind, "shape": [4], "data_offsets": [0, 8]}} for kind in ("F4", "C64", "F8_E8M0", "U16")
    ]
    texts = [json.dumps(one).encode() for one in headers]
    return [
        framed(2**60, b"{}"), framed(2**64 - 1, b"{}"), framed(200_000_000, b"{}"),
        *(framed(len(one), one + bytes(8)) for one in texts), *_foreign(name),
    ]  # fmt: skip


def _huge_header() -> list[Files]:
    found = []
    for n in (90_000_000, 200_000_000):
        text = b'{"__metadata__":{"a":"' + b"a" * n + b'"}}'
        found.append({"w.safetensors": len(text).to_bytes(8, "little") + text})
    return found


def _trail() -> list[Files]:
    found = []
    for ends in (False, True):
        net = nn.Linear(2, 1)
        nn.init.ones_(net.weight)
        nn.init.zeros_(net.bias)
        trail = Trail(net, keep=3)
        for _ in range(4):
            with torch.no_grad():
                net.weight += 1
            if ends:
                trail.accumulate()
            trail.snapshot()
        with tempfile.TemporaryDirectory() as folder:
            trail.save(folder)
            found.append({name: (Path(folder) / name).read_bytes() for name in ("trail.json", "trail.safetensors")})
    return found


def _bad_trails() -> list[Files]:
    good = _trail()[0]
    counts = [{**json.loads(good["trail.json"]), "n_epochs": n} for n in (2**62, 10**12, 1e308, -1, "4", None, [])]
    return [{**good, "trail.json": json.dumps(one).encode()} for one in counts] + _foreign(
        "trail.json", "trail.safetensors"
    )


def _read_trail(folder: Path) -> object:
    trail = Trail.load(folder)
    return [trail.window(*one) for one in trail.windows[:3]], [trail.at(one) for one in trail.epochs if trail._ends]


def _sealed(described: str, key: str, tensors: str) -> Callable[[Files], Files]:
    def seal(files: Files) -> Files:
        try:
            plain = json.loads(files[described])
            plain[key] = hashlib.sha256(files[tensors]).hexdigest()
            return {**files, described: json.dumps(plain).encode()}
        except (KeyError, ValueError, TypeError, RecursionError):
            return files

    return seal


def _entry() -> list[Files]:
    found = []
    for facts in ({"row": 1, "seconds": 0.5}, {"history": [{"loss": [1.0, 2.0]}], "released": None}):
        with tempfile.TemporaryDirectory() as folder:
            Store(folder).save("kind", "key", {"a": torch.ones(2), "b": np.arange(3)}, facts)
            names = ("kind/key.json", "kind/key.safetensors")
            found.append({name: (Path(folder) / name).read_bytes() for name in names})
    return found


def _read_entry(folder: Path) -> object:
    store = Store(folder)
    assert store.verify() is not None
    return store.facts("kind", "key"), store.load("kind", "key")


def _start(folder: Path) -> object:
    return start_from(_net(), folder / "w.safetensors", 2)


# Arrays and tables.


def _npy_bytes(x: np.ndarray[Any, Any], *, pickles: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, x, allow_pickle=pickles)
    return content.getvalue()


def _npys() -> list[Files]:
    return [
        {"x.npy": _npy_bytes(np.arange(12, dtype=np.float32).reshape(4, 3))},
        {"x.npy": _npy_bytes(np.zeros((4, 3, 2, 2), dtype=np.uint8))},
    ]


def _bad_npys() -> list[Files]:
    def framed(text: bytes, numbers: bytes = bytes(48)) -> Files:
        text = text.ljust(117) + b"\n"
        return {"x.npy": b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + numbers}

    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    headers = [
        head % shape for shape in (b"9223372036854775807, 3", b"-1, 3", b"4, 3, 1, 0", b"9" * 90 + b", 3", b"4 3")
    ]
    headers += [
        b"__import__('os').system('echo a header was run')",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }",
    ]
    of_objects = {"x.npy": _npy_bytes(np.array([[_Payload()]], dtype=object), pickles=True)}
    return [*(framed(one) for one in headers), of_objects, *_foreign("x.npy")]


def _read_npy(folder: Path) -> object:
    return from_npy(folder / "x.npy", [0, 1, 0, 1]).x[:]


def _on_disk() -> list[Files]:
    x = [_npy_bytes(np.full((rows, 2), 0.5, dtype=np.float32)) for rows in (3, 2)]
    labels = save({"y": torch.tensor([0, 1, 0, 1, 1]), "train": torch.arange(3), "test": torch.arange(3, 5)})
    files = {"x-00000.npy": x[0], "x-00001.npy": x[1], "labels.safetensors": labels}
    facts = {"made_of": "a", "classes": ["no", "yes"], "title": "t", "files": [], "labels": ""}
    return [_sealed_on_disk({**files, "data.json": json.dumps(facts).encode()})]


def _sealed_on_disk(files: Files) -> Files:
    try:
        plain = json.loads(files["data.json"])
        names = [name for name in sorted(files) if name.endswith(".npy")]
        plain |= {"files": [hashlib.sha256(files[name]).hexdigest() for name in names]}
        return {
            **files,
            "data.json": json.dumps(
                plain | {"labels": hashlib.sha256(files["labels.safetensors"]).hexdigest()}
            ).encode(),
        }
    except (KeyError, ValueError, TypeError, RecursionError):
        return files


def _bad_on_disk() -> list[Files]:
    good = _on_disk()[0]
    plain = json.loads(good["data.json"])
    changes = (
        {"files": ["a"] * 100_000},
        {"files": [1]},
        {"classes": ["a"]},
        {"classes": [""] * 100_000},
        {"title": None},
    )
    return [{**good, "data.json": json.dumps(plain | one).encode()} for one in changes[:3]] + [
        {**good, "data.json": json.dumps(plain | changes[4]).encode()},
        *_foreign("data.json", "labels.safetensors"),
    ]


def _csvs() -> list[Files]:
    lines = [
        b"age,town,share,split,label",
        *(b"%d,%s,0.5,train,%d" % (i, (b"x", b"y")[i % 2], i % 2) for i in range(5)),
    ]
    return [{"t.csv": b"\n".join([*lines, b"3,x,1e3,test,1", b"4,y,-2,test,0"])}]


def _bad_csvs() -> list[Files]:
    contents = (
        b"label\n0\n1\n", b"a,a,split,label\n1,2,train,0\n1,2,test,1\n",
        b"a,split,label\nnan,train,0\n1,test,1\n", b"a,split,label\n1e308,train,0\n-1e308,train,1\n1,test,1\n",
        b"a,split,label\n1,train,1e400\n1,test,1\n", b"a,split,label\n\xff,train,0\n\xff,test,1\n",
    )  # fmt: skip
    return [{"t.csv": one} for one in contents] + _foreign("t.csv")


def _read_table(name: str) -> Callable[[Path], object]:
    return lambda folder: Table(str(folder / name), split="split").load()


def _csv_bombs() -> list[Files]:
    wide = ",".join(f"c{i}" for i in range(100_001)).encode() + b",split,label\n"
    return [{"t.csv": one} for one in (wide, b'"' * 1_000_000, b"a,split,label\n" + b"1," * 100_000)]


def _parquet_bytes(columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **how: Any) -> bytes:  # noqa: ANN401
    table = pa.table(columns)
    content = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, content, **how)
    return content.getvalue()


_SPLIT = ["train", "train", "train", "test", "test", "test"]


def _tables() -> list[Files]:
    town = pa.array(["x", "y"] * 3).dictionary_encode()
    plain = {"age": [1, 2, 3, 4, 5, 6], "town": town, "pair": [[0.5, 1.0]] * 6, "ok": [True, False] * 3}
    columns = {**plain, "split": _SPLIT, "label": [0, 1] * 3}
    texts = {"a": [1.5] * 6, "split": _SPLIT, "label": ["no", "yes"] * 3}
    return [
        {"t.parquet": _parquet_bytes(columns, compression="none")},
        {"t.parquet": _parquet_bytes(texts, compression="snappy")},
        {"t.parquet": _parquet_bytes(texts, compression="none", use_dictionary=False, write_statistics=False)},
    ]


def _bad_columns(**more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Columns of kinds that are no features, splits or labels."""
    import datetime

    good = {"a": [1.0] * 6, "split": _SPLIT, "label": [0, 1] * 3, **more}
    text = pa.array([b"\xff\xfe"] * 6).view(pa.string())
    odd = (
        [[1]] * 6, [{"a": 1}] * 6, [None] * 6, [datetime.date(2000, 1, 1)] * 6, [float("inf")] * 6, [1e308, -1e308] * 3,
        pa.array([2**63 - 1] * 6).cast("timestamp[us]"), pa.array([2**64 - 1] * 6, pa.uint64()), text, [b"a"] * 6,
        pa.array([-(2**62)] * 6).cast("timestamp[ms]"), [10**12] * 6, [-1] * 6, pa.nulls(6), [[[0.5]]] * 6, [[]] * 6,
        [True] * 6, pa.DictionaryArray.from_arrays(pa.array([0] * 6, pa.int32()), text[:1]),
    )  # fmt: skip
    return [{**good, name: one} for name in good for one in odd]


def _bomb(millions: int, **more: Any) -> bytes:  # noqa: ANN401
    """Very many rows in a small file."""
    n = 1_000_000
    split = pa.DictionaryArray.from_arrays(pa.array(np.arange(n) % 2, pa.int32()), pa.array(["train", "test"]))
    rows = pa.table({"a": np.zeros(n, dtype=np.int64), "split": split, "label": np.zeros(n, dtype=np.int64), **more})
    content = io.BytesIO()
    with pq.ParquetWriter(content, rows.schema, compression="zstd") as writer:
        for _ in range(millions):
            writer.write_table(rows)
    return content.getvalue()


def _bad_tables() -> list[Files]:
    twice = pa.Table.from_arrays(
        [pa.array([1, 2] * 3), pa.array([1] * 6), pa.array(_SPLIT), pa.array([0, 1] * 3)], ["a", "a", "split", "label"]
    )
    content = io.BytesIO()
    pq.write_table(twice, content)
    odd = [_parquet_bytes(one) for one in _bad_columns()]
    return [{"t.parquet": one} for one in (*odd, content.getvalue())] + _foreign("t.parquet")


def _table_bombs() -> list[Files]:
    long = pa.array(["x" * 50_000_000] * 2 + ["y"] * 4)
    texts = _parquet_bytes({"a": long, "split": _SPLIT, "label": [0, 1] * 3}, compression="zstd")
    return [{"t.parquet": one} for one in (_bomb(10), _bomb(100), texts)]


# Images.


def _picture(form: str, mode: str = "RGB", **how: Any) -> bytes:  # noqa: ANN401
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, form, **how)
    return content.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header declares more pixels than it holds."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    chunks = ((b"IHDR", header), (b"IDAT", b"x\x9c\x03\x00\x00\x00\x00\x01"), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*one) for one in chunks)


def _bad_pictures() -> list[bytes]:
    tiff = b"II*\0\x08\0\0\0" + (2).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + (60_000).to_bytes(4, "little") for tag in (256, 257)
    ) + bytes(4)  # fmt: skip
    ppm = b"P6 60000 60000 255\n"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%echo a program was run) (w) file\n"
    text = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes((0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0)))
    import zlib

    text += png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)) + png_chunk(b"IEND", b"")
    return [png_of(60_000, 60_000), png_of(4_100, 4_100), png_of(0, 5), png_of(2**31 - 1, 1), tiff, ppm, eps, text]


_FORMS = (
    ("PNG", "RGB", {}), ("PNG", "P", {}), ("PNG", "LA", {}), ("PNG", "1", {}), ("JPEG", "RGB", {}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "RGB", {"progressive": True}), ("GIF", "P", {}), ("BMP", "RGB", {}), ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("WEBP", "RGB", {"lossless": True}), ("PPM", "RGB", {}),
    ("JPEG2000", "RGB", {}),
)  # fmt: skip


def _folders() -> list[Files]:
    pictures = [_picture(form, mode, **how) for form, mode, how in _FORMS]
    return [{"p/a/1.png": one, "p/b/2.png": pictures[0]} for one in pictures]


def _bad_folders() -> list[Files]:
    return [{"p/a/1.png": one, "p/b/2.png": one} for one in _bad_pictures()] + _foreign("p/a/1.png")


def _read_folder(folder: Path) -> object:
    return ImageFolder(str(folder / "p"), size=4, test=0.5).load()


def _image_tables() -> list[Files]:
    pictures = [_picture(form, mode, **how) for form, mode, how in _FORMS[:6]]
    columns = {"image": pictures, "label": [0, 1] * 3, "split": _SPLIT}
    structs = {**columns, "image": [{"bytes": one, "path": None} for one in pictures]}
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    return [
        {"i.parquet": _parquet_bytes(columns, {b"classes": b"cat\ndog"}, compression="none")},
        {"i.parquet": _parquet_bytes(structs, {b"huggingface": json.dumps(features).encode()}, compression="snappy")},
    ]


def _bad_image_tables() -> list[Files]:
    image = [_picture("PNG")] * 6
    columns = [{**one, "image": image} for one in _bad_columns()] + _bad_columns(image=image)
    files = [_parquet_bytes(one) for one in columns if len(one) < 6]
    good: dict[str, Any] = {"image": image, "label": [0, 1] * 3, "split": _SPLIT}
    files += [_parquet_bytes({**good, "image": [image[0]] * 5 + [one]}) for one in _bad_pictures()]
    names = (b"\xff\xfe", b"a", b"a\na", b"\0" * 9)
    files += [_parquet_bytes(good, {b"classes": one}) for one in names]
    files += [
        _parquet_bytes(good, {b"huggingface": one}) for one in (b"[" * 100_000, b"\xff", b'{"info":1}', b"9" * 9999)
    ]
    return [{"i.parquet": one} for one in files] + _foreign("i.parquet")


def _image_bombs() -> list[Files]:
    found = []
    for first in (None, _picture("PNG")):
        image = pa.array([first] + [None] * 999_999, pa.binary())
        found.append({"i.parquet": _bomb(10, image=image)})
    return found


def _read_images(folder: Path) -> object:
    return Parquet(str(folder / "i.parquet"), size=4).load()


# Archives.


class _Unchecked(Original):
    """A published file that any content passes for."""

    def digest_of(self, content: BinaryIO) -> str:
        """The digest that is expected."""
        return self.digest


def _unchecked(source: type[A]) -> type[A]:
    originals = tuple(_Unchecked(**dataclasses.asdict(one)) for one in source.originals)
    found: type[A] = type(source.__name__, (source,), {"originals": originals})
    return found


def _archive(
    source: type[A], build: Callable[[Path], str], *names: str
) -> tuple[Callable[[], list[Files]], Callable[[Path], object]]:
    """Its good inputs and how it is read."""
    kind = _unchecked(source)

    def good() -> list[Files]:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            return [{name: (Path(folder) / name).read_bytes() for name in names}]

    return good, lambda folder: kind(str(folder)).load()


def _bad_tars(name: str) -> Callable[[], list[Files]]:
    def tar(*members: tuple[str, bytes, dict[str, Any]]) -> Files:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
            for path, inside, more in members:
                info = tarfile.TarInfo(path)
                info.size = len(inside)
                for field, one in more.items():
                    setattr(info, field, one)
                archive.addfile(info, io.BytesIO(inside))
        return {name: content.getvalue()}

    def bad() -> list[Files]:
        link, hard, device = (
            {"type": kind, "linkname": "/etc/passwd"} for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)
        )
        first = "cifar-10-batches-bin/test_batch.bin"
        sparse = {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.name": "x"}}
        return [
            tar(("../../escaped", b"x", {})), tar(("/tmp/escaped", b"x", {})), tar(("a\\..\\b", b"x", {})),
            tar(("bangkok", b"", link)), tar((first, b"", hard)), tar(("train/cat/a.png", b"", device)),
            tar(*((f"train/cat/{i % 2}.png", b"x", {}) for i in range(3))), tar(("a", bytes(2_000_000), {})),
            tar(("a", b"", sparse)), *_foreign(name),
        ]  # fmt: skip

    return bad


def _tar_bombs(name: str, member: str) -> Callable[[], list[Files]]:
    def bombs() -> list[Files]:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
            info = tarfile.TarInfo(member)
            info.size = 300_000_000
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        return [{name: content.getvalue()}]

    return bombs


def _bad_zips() -> list[Files]:
    found = []
    for path, inside in (
        ("../../escaped", b"x"),
        ("/tmp/escaped", b"x"),
        ("C:\\a", b"x"),
        ("tiny-imagenet-200/wnids.txt", bytes(5_000_000)),
    ):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(path, inside)
        found.append({"tiny-imagenet-200.zip": content.getvalue()})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = zipfile.ZipInfo("tiny-imagenet-200/wnids.txt")
        info.external_attr = 0o120777 << 16  # a symbolic link
        archive.writestr(info, "/etc/passwd")
    return [*found, {"tiny-imagenet-200.zip": content.getvalue()}, *_foreign("tiny-imagenet-200.zip")]


def _readers() -> tuple[Reader, ...]:
    cifar, read_cifar = _archive(CIFAR10, archives.cifar10, "cifar-10-binary.tar.gz")
    cinic, read_cinic = _archive(CINIC10, archives.cinic, "CINIC-10.tar.gz")
    location, read_location = _archive(Location30, archives.location, "dataset_location.tgz")
    texas, read_texas = _archive(Texas100, archives.texas, "dataset_texas.tgz")
    svhn, read_svhn = _archive(SVHN, archives.svhn, "train_32x32.mat", "test_32x32.mat")
    tiny, read_tiny = _archive(TinyImageNet, archives.tiny_imagenet, "tiny-imagenet-200.zip")
    sealed_trail = _sealed("trail.json", "sha256", "trail.safetensors")
    sealed_entry = _sealed("kind/key.json", "sha256", "kind/key.safetensors")
    return (
        Reader("run file", 5, _runs, _bad_runs, _read_toml),
        Reader("run settings", 5, _plain_runs, lambda: _foreign("run.json"), _read_plain),
        Reader("comparison file", 3, _comparisons, lambda: _foreign("c.json"), _read_comparison),
        Reader("comparison", 4, _compared, lambda: _foreign(PLAN_FILE), _read_compared),
        Reader(
            "tensors",
            14,
            _weights,
            _bad_tensors,
            lambda folder: read_tensors(folder / "w.safetensors"),
            bombs=_huge_header,
        ),
        Reader(
            "weights",
            6,
            lambda: _weights()[:1],
            _bad_tensors,
            lambda folder: load_weights(_net(), folder / "w.safetensors"),
        ),
        Reader("start", 3, lambda: _weights()[:1], _bad_tensors, _start),
        Reader("trail", 8, _trail, _bad_trails, _read_trail, sealed_trail),
        Reader(
            "store entry",
            8,
            _entry,
            lambda: _foreign("kind/key.json", "kind/key.safetensors"),
            _read_entry,
            sealed_entry,
        ),
        Reader("npy", 14, _npys, _bad_npys, _read_npy),
        Reader("on disk", 4, _on_disk, _bad_on_disk, lambda folder: opened(folder), _sealed_on_disk),
        Reader("CSV", 5, _csvs, _bad_csvs, _read_table("t.csv"), bombs=_csv_bombs),
        Reader("parquet table", 3, _tables, _bad_tables, _read_table("t.parquet"), bombs=_table_bombs),
        Reader("parquet images", 2, _image_tables, _bad_image_tables, _read_images, bombs=_image_bombs),
        Reader("image folder", 4, _folders, _bad_folders, _read_folder),
        Reader(
            "cifar10",
            2,
            cifar,
            _bad_tars("cifar-10-binary.tar.gz"),
            read_cifar,
            bombs=_tar_bombs("cifar-10-binary.tar.gz", "cifar-10-batches-bin/test_batch.bin"),
        ),
        Reader("cinic10", 2, cinic, _bad_tars("CINIC-10.tar.gz"), read_cinic),
        Reader(
            "location30",
            2,
            location,
            _bad_tars("dataset_location.tgz"),
            read_location,
            bombs=_tar_bombs("dataset_location.tgz", "bangkok"),
        ),
        Reader("texas100", 2, texas, _bad_tars("dataset_texas.tgz"), read_texas),
        Reader("svhn", 2, svhn, lambda: _foreign("train_32x32.mat"), read_svhn),
        Reader("tiny_imagenet", 2, tiny, _bad_zips, read_tiny),
    )


READERS = {reader.name: reader for reader in _readers()}
