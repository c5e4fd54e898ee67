from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from membrane.core.errors import DataError
from membrane.data import Parquet, from_huggingface
from tests.data.sources import PIXELS, encoded, image_file
from tests.data.test_parquet import bomb


class ClassLabel:
    names = ("cat", "dog")


class Columns:
    """What the library's Dataset shows of itself, as far as it is used."""

    def __init__(self, columns: Mapping[str, list[Any]], features: Mapping[str, object] | None = None) -> None:
        self.columns, self.features, self.column_names = columns, features, list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))


LABELS = [0, 1, 1, 0, 1, 0]
PICTURES = [Image.fromarray(one) for one in PIXELS]


@pytest.mark.parametrize(
    "images",
    [PICTURES, [encoded(one) for one in PIXELS], [{"bytes": encoded(one), "path": "a.png"} for one in PIXELS]],
)
def test_images_come_in_order_however_they_are_held(images: list[Any]) -> None:
    examples = from_huggingface(Columns({"img": images, "label": LABELS, "id": LABELS}))
    np.testing.assert_array_equal(examples.x.numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert examples.y.tolist() == LABELS
    assert examples.classes == ("0", "1")
    assert examples.source == "huggingface"


def test_images_beside_the_table_are_read(tmp_path: Path) -> None:
    files = [str(image_file(tmp_path / f"{i}.png", one)) for i, one in enumerate(PIXELS)]
    columns = {"image": [{"bytes": None, "path": file} for file in files], "label": LABELS}
    np.testing.assert_array_equal(from_huggingface(Columns(columns)).x.numpy(), PIXELS.transpose(0, 3, 1, 2))


def test_numbers_stay_numbers() -> None:
    examples = from_huggingface(Columns({"features": [[0.5, 1], [2, 3]], "y": [1, 0]}))
    assert examples.x.dtype == torch.float32
    assert examples.x.tolist() == [[0.5, 1.0], [2.0, 3.0]]


def test_types_tell_columns_before_names_do() -> None:
    columns = {"photo": PICTURES, "image": LABELS, "kind": LABELS, "label": ["x"] * 6}
    features = {"photo": type("Image", (), {})(), "kind": ClassLabel()}
    examples = from_huggingface(Columns(columns, features))
    assert examples.classes == ("cat", "dog")
    assert examples.y.tolist() == LABELS
    assert examples.x.shape == (6, 3, 5, 4)


def test_images_are_scaled_and_made_grey_if_asked_for() -> None:
    mixed = Columns({"image": [PICTURES[0], PICTURES[1].rotate(90, expand=True)], "label": [0, 1]})
    with pytest.raises(DataError, match="row 1: the image is 5x4, the ones before 4x5"):
        from_huggingface(mixed)
    assert from_huggingface(mixed, size=4, colour="grey").x.shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    ("columns", "names", "said"),
    [
        ({"image": PICTURES, "fine": LABELS, "coarse": LABELS}, {}, r"which column is the label\? none of \['image'"),
        ({"image": PICTURES, "img": PICTURES, "label": LABELS}, {}, r"several could be it: \['image', 'img'\]"),
        ({"image": PICTURES, "label": LABELS}, {"label": "y"}, r"has no column \['y'\]; it has \['image', 'label'\]"),
        ({"image": PICTURES, "label": ["cat"] * 6}, {}, r"the first is 'cat' in row 0.*class_encode_column\('label'\)"),
        (
            {"image": PICTURES, "label": [0, 1, -1, -1, 0, 0]},
            {},
            "2 labels .* negative, the first in row 2",
        ),
        ({"image": [*PICTURES[:5], None], "label": LABELS}, {}, "row 5: the image is NoneType"),
        ({"image": [b"x", bomb(9_000, 9_000)], "label": [0, 1]}, {}, r"(?s)2 mistakes.*row 0: .*row 1: .* too large"),
        ({"image": [{"bytes": None, "path": "nowhere.png"}], "label": [0]}, {}, "row 0: .*nowhere.png"),
        ({"features": [[1, 2], [3]], "label": [0, 1]}, {}, "not one array of numbers"),
        ({"features": [], "label": []}, {}, "the dataset is empty"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, list[Any]], names: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_huggingface(Columns(columns), **names)  # type: ignore[arg-type]


def test_two_columns_of_the_label_type_need_a_name() -> None:
    columns = {"image": PICTURES, "fine_label": LABELS, "coarse_label": LABELS}
    dataset = Columns(columns, {"fine_label": ClassLabel(), "coarse_label": ClassLabel()})
    with pytest.raises(DataError, match=r"several could be it: \['fine_label', 'coarse_label'\]\. Name it with label="):
        from_huggingface(dataset)
    assert from_huggingface(dataset, label="fine_label").classes == ("cat", "dog")


def test_what_is_no_single_split_is_refused() -> None:
    splits = type("DatasetDict", (dict,), {"column_names": {"train": ["image"], "test": ["image"]}})()
    with pytest.raises(DataError, match=r"dictionary of splits \['test', 'train'\]; pass one"):
        from_huggingface(splits)
    stream = type("IterableDataset", (), {"column_names": ["image", "label"]})()
    with pytest.raises(DataError, match="is a stream"):
        from_huggingface(stream)
    with pytest.raises(DataError, match="list has no column_names"):
        from_huggingface([1])


@pytest.mark.extras("datasets")
@pytest.mark.parametrize("how", ["plain", "torch", "numpy", "transformed", "undecoded"])
def test_the_real_library_gives_the_same_whatever_its_format(how: str, tmp_path: Path) -> None:
    import datasets

    kinds = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    dataset = datasets.Dataset.from_dict({"img": PICTURES, "kind": LABELS}, features=kinds)
    if how in ("torch", "numpy"):
        dataset = dataset.with_format(how)
    if how == "transformed":
        dataset = dataset.with_transform(lambda rows: {"img": [0 for _ in rows["img"]]})
    if how == "undecoded":
        dataset = dataset.cast_column("img", datasets.Image(decode=False))
    examples = from_huggingface(dataset)
    np.testing.assert_array_equal(examples.x.numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert examples.y.tolist() == LABELS
    assert examples.classes == ("cat", "dog")


@pytest.mark.extras("datasets")
def test_what_the_real_library_writes_is_read_as_shards(tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    dataset = datasets.Dataset.from_dict({"image": PICTURES, "label": LABELS}, features=kinds)
    for split, rows in (("train", range(4)), ("test", range(4, 6))):
        part = dataset.select(rows)
        for i in range(2):
            part.shard(2, i, contiguous=True).to_parquet(tmp_path / f"{split}-{i:05}-of-00002.parquet")
    train, test = Parquet(str(tmp_path)).load()
    np.testing.assert_array_equal(train.x.numpy(), PIXELS[:4].transpose(0, 3, 1, 2))
    assert (train.y.tolist(), test.y.tolist()) == (LABELS[:4], LABELS[4:])
    assert train.classes == ("cat", "dog")


@pytest.mark.extras("datasets")
def test_streams_and_dictionaries_of_the_real_library_are_refused() -> None:
    import datasets

    dataset = datasets.Dataset.from_dict({"features": [[1.0]], "label": [0]})
    assert from_huggingface(dataset).x.tolist() == [[1.0]]
    with pytest.raises(DataError, match="is a stream"):
        from_huggingface(dataset.to_iterable_dataset())
    with pytest.raises(DataError, match="dictionary of splits"):
        from_huggingface(datasets.DatasetDict(train=dataset))
