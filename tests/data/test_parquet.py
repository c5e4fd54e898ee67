from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from membrane.core.errors import DataError, OutOfMemoryError
from membrane.data import Parquet
from membrane.data.images import Form, decode
from membrane.data.parquet import _Shard

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
SPLIT = ["train", "test", "train", "train", "validation", "test"]
LABELS = [0, 1, 2, 1, 0, 2]


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


IMAGES = [encoded(pixels) for pixels in PIXELS]
NO_TEXT = pa.array([b"\xff"] * 6).view(pa.string())  # not UTF-8
FAR_FUTURE = pa.array([2**62] * 6).cast(pa.timestamp("us"))  # no year of Python's


def write(path: Path, metadata: Mapping[str, str] | None = None, **columns: Any) -> Parquet:  # noqa: ANN401
    data = {"image": IMAGES, "label": LABELS, "split": SPLIT, **columns}
    table = pa.table({name: values for name, values in data.items() if values is not None})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return Parquet(str(path))


@pytest.mark.parametrize("as_struct", [True, False])
def test_images_come_back_pixel_for_pixel(tmp_path: Path, as_struct: bool) -> None:
    images = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(IMAGES)] if as_struct else IMAGES
    train, test = write(tmp_path / "pets.parquet", image=images).load()
    np.testing.assert_array_equal(train.x.numpy(), PIXELS[[0, 2, 3]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.x.numpy(), PIXELS[[1, 5]].transpose(0, 3, 1, 2))
    assert train.x.dtype == torch.uint8
    assert train.y.tolist() == [0, 2, 1]
    assert test.y.tolist() == [1, 2]
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.source == "pets"


def test_columns_have_the_names_that_the_settings_say(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=None, label=None, split=None, img=IMAGES, fine_label=LABELS, part=SPLIT)
    train, _ = Parquet(str(tmp_path / "a.parquet"), "img", "fine_label", "part").load()
    assert len(train) == 3


def test_grey_images_get_three_equal_channels(tmp_path: Path) -> None:
    train, _ = write(tmp_path / "a.parquet", image=[encoded(pixels[..., 0]) for pixels in PIXELS]).load()
    np.testing.assert_array_equal(train.x[0].numpy(), np.broadcast_to(PIXELS[0, ..., 0], (3, 5, 4)))


def test_jpeg_is_read_too(tmp_path: Path) -> None:
    train, _ = write(tmp_path / "a.parquet", image=[encoded(pixels, "JPEG") for pixels in PIXELS]).load()
    assert train.x.shape == (3, 3, 5, 4)


def hugging_face(names: object, column: str = "label") -> dict[str, str]:
    """The description that the datasets library writes."""
    features = {"image": {"_type": "Image"}, column: {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"classes": "cat\ndog\nfox"}, ("cat", "dog", "fox")),
        (hugging_face(["cat", "dog", "fox", "elk"]), ("cat", "dog", "fox", "elk")),
        (hugging_face(["p", "q", "r"]) | {"classes": "cat\ndog\nfox"}, ("cat", "dog", "fox")),
        (hugging_face(["cat", "dog", "fox"], "other"), ("0", "1", "2")),
        ({"huggingface": "{"}, ("0", "1", "2")),
        ({"huggingface": "[1]"}, ("0", "1", "2")),
        ({"huggingface": json.dumps({"info": {"features": {"label": {"dtype": "int64"}}}})}, ("0", "1", "2")),
        ({"other": "x"}, ("0", "1", "2")),
    ],
)
def test_class_names_come_from_the_metadata(
    tmp_path: Path, metadata: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert write(tmp_path / "a.parquet", metadata).load().train.classes == expected


def test_fewer_names_than_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="with 2 classes"):
        write(tmp_path / "a.parquet", {"classes": "cat\ndog"}).load()


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -20])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    source = write(tmp_path / "a.parquet")
    content = Path(source.path).read_bytes()
    Path(source.path).write_bytes(content[:keep])
    with pytest.raises(DataError, match=r"a\.parquet is not a whole parquet file"):
        source.load()


def test_a_file_that_is_something_else_or_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("not a table " * 50)
    with pytest.raises(DataError, match="not a whole parquet file"):
        Parquet(str(tmp_path / "a.parquet")).load()
    with pytest.raises(DataError, match="there is no file"):
        Parquet(str(tmp_path / "b.parquet")).load()
    with pytest.raises(DataError, match=r"not a whole parquet file|there is no file"):
        Parquet(str(tmp_path)).load()


@pytest.mark.parametrize("column", ["image", "label", "split"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(DataError, match=rf"has no column \['{column}'\]; it has"):
        write(tmp_path / "a.parquet", **{column: None}, other=[1] * 6).load()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": [0, 1, None, 1, 0, 2]}, "1 labels are not whole numbers, the first is None in row 2"),
        ({"label": [0, 1, 1.5, 1, 0, 2]}, "6 labels are not whole numbers, the first is 0.0 in row 0"),
        ({"label": ["a"] * 6}, "labels are not whole numbers"),
        ({"label": [0, -1, 1, 0, 1, 2]}, "run from -1"),
        ({"label": [0, 10**12, 1, 0, 1, 2]}, "the largest label is 1,000,000,000,000"),
        ({"label": pa.array([2**64 - 1] * 6, pa.uint64())}, "6 labels are not whole numbers"),
        ({"label": [[1]] * 6}, "column 'label' cannot be read"),
        ({"label": NO_TEXT}, "column 'label' cannot be read"),
        ({"label": FAR_FUTURE}, "column 'label' cannot be read"),
        ({"split": [["train"]] * 6}, "column 'split' cannot be read"),
        ({"split": NO_TEXT}, "column 'split' cannot be read"),
        ({"split": FAR_FUTURE}, "column 'split' cannot be read"),
        ({"image": NO_TEXT}, "is not a whole parquet file"),
        ({"image": FAR_FUTURE}, "is not a whole parquet file"),
        ({"split": ["train"] * 6}, r"no rows with split = \['test'\]; there are \['train'\]"),
        ({"split": ["train", None] * 3}, r"no rows with split = \['test'\]; there are \['None', 'train'\]"),
        ({"image": [*IMAGES[:3], None, *IMAGES[4:]]}, "row 3: the image is NoneType, not bytes"),
        ({"image": [{"bytes": None, "path": "a.png"}] * 6}, "row 0: the image is NoneType, not bytes"),
        ({"image": ["a.png"] * 6}, "row 0: the image is str, not bytes"),
        ({"image": [*IMAGES[:3], b"junk", *IMAGES[4:]]}, "row 3: the image cannot be decoded"),
        ({"image": [*IMAGES[:3], IMAGES[3][:40], *IMAGES[4:]]}, "row 3: the image cannot be decoded"),
        ({"image": [*IMAGES[:5], encoded(PIXELS[5][:4])]}, "row 5: the image is 4x4, the ones before 4x5"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_row(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        write(tmp_path / "a.parquet", **columns).load()


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        write(
            tmp_path / "a.parquet",
            image=pa.array([], pa.binary()),
            label=pa.array([], pa.int64()),
            split=pa.array([], pa.string()),
        ).load()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [4_100, 10_000, 60_000])
def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, side: int) -> None:
    with pytest.raises(DataError, match=r"row 2: the image (has .* too large|cannot be decoded .*bomb)"):
        write(tmp_path / "a.parquet", image=[*IMAGES[:2], bomb(side, side), *IMAGES[3:]]).load()


@pytest.mark.parametrize("metadata", [{"classes": b"\xff\na\nb"}, {"huggingface": "[" * 100_000}])
def test_odd_metadata_is_no_reason_to_refuse(tmp_path: Path, metadata: dict[str, Any]) -> None:
    train, _ = write(tmp_path / "a.parquet", metadata).load()
    assert len(train.classes) == 3


@pytest.mark.parametrize("n_labels", [3, 7])
def test_a_damaged_file_with_more_or_fewer_images_than_labels_is_refused(tmp_path: Path, n_labels: int) -> None:
    write(tmp_path / "a.parquet")
    shard = _Shard(str(tmp_path / "a.parquet"))
    shard._labels = np.zeros(n_labels, dtype=object)
    with pytest.raises(DataError, match="does not hold as many images as labels"):
        list(shard.images("image"))


def test_images_that_are_all_broken_are_not_all_looked_at() -> None:
    coming = iter([("an image", b"junk")] * 20_000)
    with pytest.raises(DataError, match="9,980 more at least; the rest was not looked at"):
        decode(coming, 20_000, Form())
    assert len(list(coming)) == 10_000


def test_images_that_no_memory_holds_are_refused_with_what_would_help() -> None:
    with pytest.raises(OutOfMemoryError, match=r"images of 4x5 take .* keep them on disk"):
        decode([("an image", IMAGES[0])], 10**15, Form())


def test_labels_that_no_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pq, "read_table", none_left)
    with pytest.raises(OutOfMemoryError, match="does not fit into memory"):
        write(tmp_path / "a.parquet").load()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_damaged_images_raise_nothing_but_our_error(tmp_path: Path, form: str) -> None:
    """Whatever a decoder makes of flipped bits."""
    clock = random.Random(0)
    whole = encoded(PIXELS[0], form)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(3):
            broken[clock.randrange(len(broken))] ^= 1 << clock.randrange(8)
        path = tmp_path / "a.parquet"
        try:
            write(path, image=[bytes(broken)] * 6).load()
        except DataError as problem:
            assert "row" in str(problem)  # noqa: PT017


def shard(path: Path, rows: list[int], split: list[str] | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": IMAGES[row], "path": f"{row}.png"} for row in rows]
    columns: dict[str, Any] = {"image": images, "label": [LABELS[row] for row in rows]}
    pq.write_table(pa.table(columns | ({"split": split} if split else {})), path)
    return str(path)


def hub(folder: Path, train: str, test: str) -> None:
    """Two train files and one test file, named by patterns."""
    shard(folder / train.format(0), [0, 2])
    shard(folder / train.format(1), [3])
    shard(folder / test.format(0), [1, 5])


@pytest.mark.parametrize(
    ("train", "test", "path"),
    [
        ("train-{:05}-of-00002.parquet", "test-{:05}-of-00001.parquet", ""),
        ("data/train-{:05}-of-00002-a1b2.parquet", "data/test-{:05}-of-00001-c3d4.parquet", "*/*.parquet"),
        ("plain/train/{:04}.parquet", "plain/test/{:04}.parquet", "plain"),
        ("cifar-train-{}.parquet", "cifar-test-{}.parquet", "cifar-*"),
        ("train-{}.parquet", "validation-{}.parquet", ""),
    ],
)
def test_shards_tell_their_split_by_name(tmp_path: Path, train: str, test: str, path: str) -> None:
    folder = tmp_path / "pets"
    hub(folder, train, test)
    whole = Parquet(str(folder / path)).load()
    np.testing.assert_array_equal(whole.train.x.numpy(), PIXELS[[0, 2, 3]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(whole.test.x.numpy(), PIXELS[[1, 5]].transpose(0, 3, 1, 2))
    assert (whole.train.y.tolist(), whole.test.y.tolist()) == ([0, 2, 1], [1, 2])


def test_a_validation_split_is_not_used_where_there_is_a_test_split(tmp_path: Path) -> None:
    hub(tmp_path, "train-{}.parquet", "test-{}.parquet")
    expected = Parquet(str(tmp_path)).load()
    shard(tmp_path / "validation-0.parquet", [4])
    again = Parquet(str(tmp_path)).load()
    assert [part.checksum() for part in again] == [part.checksum() for part in expected]


def test_lists_of_files_may_say_which_split_is_which(tmp_path: Path) -> None:
    a, b, c = (
        shard(tmp_path / "a.parquet", [0, 2]),
        shard(tmp_path / "b.parquet", [3]),
        shard(tmp_path / "c.parquet", [1]),
    )
    train, test = Parquet((b, a), test=c).load()
    assert train.y.tolist() == [1, 0, 2]
    assert test.y.tolist() == [1]
    assert Parquet(str(tmp_path / "[ab].parquet"), test=(c,)).load().train.y.tolist() == [0, 2, 1]


def test_a_split_column_counts_before_names_and_all_files_must_have_it(tmp_path: Path) -> None:
    shard(tmp_path / "test-0.parquet", [0, 1], ["train", "test"])
    shard(tmp_path / "test-1.parquet", [2, 5], ["train", "test"])
    train, test = Parquet(str(tmp_path)).load()
    assert (train.y.tolist(), test.y.tolist()) == ([0, 2], [1, 2])
    shard(tmp_path / "test-2.parquet", [3])
    with pytest.raises(DataError, match=r"test-2\.parquet has no column \['split'\]"):
        Parquet(str(tmp_path)).load()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train-0.parquet": [0], "train-1.parquet": [2]}, r"no rows with split = \['test'\]; there are \['train'\]"),
        ({"a.parquet": [0], "b.parquet": [1]}, r"a\.parquet has no column \['split'\].*or call the files train-"),
        ({"train-0.parquet": [0], "strain-1.parquet": [2]}, r"has no column \['split'\]"),
        ({}, "there is no file .* with parquet files in it"),
    ],
)
def test_shards_without_a_split_are_refused(tmp_path: Path, files: dict[str, list[int]], said: str) -> None:
    for name, rows in files.items():
        shard(tmp_path / name, rows)
    with pytest.raises(DataError, match=said):
        Parquet(str(tmp_path)).load()


def test_the_row_and_file_of_a_broken_image_are_named_and_unused_rows_are_not_looked_at(tmp_path: Path) -> None:
    hub(tmp_path, "train-{}.parquet", "test-{}.parquet")
    junk = [{"bytes": b"junk", "path": None}]
    pq.write_table(pa.table({"image": junk, "label": [0]}), tmp_path / "validation-0.parquet")
    Parquet(str(tmp_path)).load()
    pq.write_table(pa.table({"image": junk, "label": [0]}), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1\.parquet, row 0: the image cannot be decoded"):
        Parquet(str(tmp_path)).load()


def test_images_are_scaled_and_made_grey_if_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet", image=[*IMAGES[:5], encoded(PIXELS[5][:4])])
    train, test = Parquet(source.path, size=4, colour="grey").load()
    assert train.x.shape[1:] == test.x.shape[1:] == (1, 4, 4)
