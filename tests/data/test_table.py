from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from membrane.core.errors import DataError, OutOfMemoryError, SettingError
from membrane.data import Table
from membrane.data.columns import column_of, values_of

CSV = """age,income,owner,city,label,split
10,1.5,true,Rome,no,train
20,2.5,false,Oslo,yes,train
30,3.5,true,Rome,yes,train
40,4.5,true,Oslo,no,train
90,9.5,false,Bern,yes,test
"""


def saved(folder: Path, text: str = CSV, name: str = "people.csv") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["people.csv", "people.CSV", "people.csv.gz"])
def test_columns_become_features_with_what_the_train_split_teaches(tmp_path: Path, name: str) -> None:
    train, test = Table(saved(tmp_path, name=name), split="split").load()
    deviation = np.sqrt(125)  # of 10, 20, 30, 40
    expected = [
        [-15 / deviation, -1.5 / np.sqrt(1.25), 1, 0, 1],
        [-5 / deviation, -0.5 / np.sqrt(1.25), 0, 1, 0],
        [5 / deviation, 0.5 / np.sqrt(1.25), 1, 0, 1],
        [15 / deviation, 1.5 / np.sqrt(1.25), 1, 1, 0],
    ]
    np.testing.assert_allclose(train.x.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(test.x.numpy(), [[65 / deviation, 6.5 / np.sqrt(1.25), 0, 0, 0]], rtol=1e-6)
    assert train.x.dtype == torch.float32
    assert train.classes == ("no", "yes")
    assert (train.y.tolist(), test.y.tolist()) == ([0, 1, 1, 0], [1])
    assert train.source == "people"


def test_numbers_stay_as_they_are_if_asked_for_and_columns_can_be_left_out(tmp_path: Path) -> None:
    train, _ = Table(saved(tmp_path), split="split", standardize=False, drop=("city", "income")).load()
    assert train.x.tolist() == [[10, 1], [20, 0], [30, 1], [40, 1]]


def columns(folder: Path, **changed: Any) -> Table:  # noqa: ANN401
    data = {"age": [1.0, 2.0, 3.0], "label": [0, 1, 0], "split": ["train", "train", "test"], **changed}
    pq.write_table(pa.table(data), folder / "people.parquet")
    return Table(str(folder / "people.parquet"), split="split")


NO_TEXT = pa.array([b"\xff"] * 3).view(pa.string())  # not UTF-8
FAR_FUTURE = pa.array([2**62] * 3).cast(pa.timestamp("us"))  # no year of Python's


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"age": NO_TEXT}, "column 'age' cannot be read"),
        ({"age": NO_TEXT.dictionary_encode()}, "column 'age' cannot be read"),
        ({"label": NO_TEXT}, "column 'label' cannot be read"),
        ({"split": NO_TEXT}, "column 'split' cannot be read"),
        ({"split": FAR_FUTURE}, "column 'split' cannot be read"),
        ({"split": [["train"]] * 3}, "column 'split' cannot be read"),
        ({"split": [None, "train", None]}, r"no rows with split = \['test'\]; there are \['None', 'train'\]"),
        ({"age": [1e308, -1e308, 0.0]}, "too large for float32"),
    ],
)
def test_columns_that_python_cannot_hold_are_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        columns(tmp_path, **changed).load()


@pytest.mark.parametrize("read", [column_of, values_of])
def test_a_damaged_dictionary_is_refused(read: Callable[[pa.Array, str], object]) -> None:
    indices = pa.array([0, 5], pa.int32())
    with pytest.raises(DataError, match="column 'age' cannot be read"):
        read(pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False), "age")


def test_names_of_columns_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\xff,label\n1,0\n2,1\n")
    with pytest.raises(DataError, match="is not a whole CSV or parquet file"):
        Table(str(tmp_path / "a.csv")).load()


def test_very_many_columns_of_one_name_are_counted_in_one_go(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has several columns"):
        Table(saved(tmp_path, "a," * 30_000 + "label\n")).load()


def test_a_table_that_no_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("membrane.data.table.column_of", none_left)
    with pytest.raises(OutOfMemoryError, match="does not fit into memory"):
        columns(tmp_path).load()


def test_tabs_separate_in_tsv(tmp_path: Path) -> None:
    train, _ = Table(saved(tmp_path, CSV.replace(",", "\t"), "people.tsv"), split="split").load()
    assert train.x.shape == (4, 5)


def test_a_table_without_a_split_is_split_by_its_seed(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 2}" for i in range(20))
    path = saved(tmp_path, f"x,label\n{rows}\n")
    train, test = Table(path, standardize=False).load()
    assert (len(train), len(test)) == (16, 4)
    whole = torch.cat([train.x, test.x]).flatten()
    assert sorted(whole.tolist()) == list(range(20))
    assert torch.equal(whole % 2, torch.cat([train.y, test.y]).float())
    assert test.x.flatten().tolist() == [14, 4, 9, 19]
    assert Table(path, standardize=False, seed=1).load().test.x.tolist() != test.x.tolist()


def test_a_constant_column_stays_and_binary_columns_are_not_scaled(tmp_path: Path) -> None:
    rows = [(7, 0, 0), (7, 1, 1), (7, 0, 0), (7, 0, 1)]
    path = saved(
        tmp_path, "a,b,label,split\n" + "".join(f"{a},{b},{y},{s}\n" for (a, b, y), s in zip(rows, SPLIT4, strict=True))
    )
    train, test = Table(path, split="split").load()
    assert torch.cat([train.x, test.x]).tolist() == [[7, 0], [7, 1], [7, 0], [7, 0]]


SPLIT4 = ["train", "train", "train", "test"]


def test_classes_are_the_different_labels_in_order_of_number(tmp_path: Path) -> None:
    labels = [10, 9, 10, 100, 9, 100]
    path = saved(tmp_path, "x,label\n" + "".join(f"{i},{y}\n" for i, y in enumerate(labels)))
    train, test = Table(path, standardize=False).load()
    assert train.classes == ("9", "10", "100")
    got = {int(x): train.classes[y] for part in (train, test) for x, y in zip(part.x[:, 0], part.y, strict=True)}
    assert [got[i] for i in range(6)] == list(map(str, labels))


def parquet(folder: Path, **columns: Any) -> str:  # noqa: ANN401
    path = folder / "people.parquet"
    pq.write_table(pa.table({"label": [0, 1, 0, 1], "split": SPLIT4, **columns}), path)
    return str(path)


def test_lists_in_parquet_become_one_feature_per_item(tmp_path: Path) -> None:
    lists = [[1, 2], [3, 4], [5, 6], [7, 8]]
    for kind in (pa.list_(pa.uint8(), 2), pa.list_(pa.float32()), pa.large_list(pa.int64())):
        path = parquet(tmp_path, features=pa.array(lists, kind))
        train, test = Table(path, split="split", standardize=False).load()
        assert (train.x.tolist(), test.x.tolist()) == (lists[:3], lists[3:])


def test_categories_of_parquet_are_texts(tmp_path: Path) -> None:
    path = parquet(tmp_path, city=pa.array(["a", "b", "a", "c"]).dictionary_encode())
    train, test = Table(path, split="split").load()
    assert (train.x.tolist(), test.x.tolist()) == ([[1, 0], [0, 1], [1, 0]], [[0, 0]])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": [1.0, None, 2.0, None]}, "column 'x' has no value in 2 rows, the first is row 1"),
        ({"x": [1.0, 2.0, float("nan"), 1.0]}, "column 'x' has no value in 1 rows, the first is row 2"),
        ({"x": [1.0, 2.0, 3.0, float("inf")]}, "column 'x' has no value in 1 rows, the first is row 3"),
        ({"x": ["a", None, "b", "a"]}, "column 'x' has no value in 1 rows, the first is row 1"),
        ({"x": [[1, 2], [1], [1, 2], [1]]}, "lists of 1 to 2 items"),
        ({"x": [[1, 2], [1, None], [1, 2], [1, 3]]}, "column 'x' has no value in 1 rows, the first is row 1"),
        ({"x": [[1], None, [1], [1]]}, "column 'x' has no value in 1 rows, the first is row 1"),
        ({"x": [datetime.date(2020, 1, 1)] * 4}, "column 'x' holds date32"),
        ({"x": [b"a"] * 4}, "column 'x' holds binary"),
        ({"x": [1e300] * 3 + [1.0]}, "column 'x' holds 1e\\+300 in row 0; too large"),
        ({"x": [1] * 4, "label": [0.5, 1, 0, 1]}, "label column 'label' holds fractions"),
        ({"x": [1] * 4, "label": [0, None, 0, 1]}, "column 'label' has no value in 1 rows"),
        ({"x": [1] * 4, "label": [1, 2, 3, 4]}, "4 different values in 4 rows; that is no column of classes"),
        ({"x": [1] * 4, "split": ["train"] * 4}, r"no rows with split = \['test'\]"),
        ({}, "has no columns besides 'label'"),
        ({"x": ["a", None, "b", "a"], "y": [1, 2, None, 4]}, "(?s)2 mistakes.*column 'x'.*column 'y'"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Table(parquet(tmp_path, **columns), split="split").load()


def test_too_many_categories_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = parquet(tmp_path, name=["Ann", "Bob", "Cid", "Dan"], city=["a", "b", "a", "b"])
    with pytest.raises(DataError, match=r"column 'name' holds 3 different texts such as 'Ann'; at most 2.*drop"):
        Table(path, split="split", most_categories=2).load()
    assert Table(path, split="split", most_categories=2, drop=("name",)).load().train.x.shape == (3, 2)


def test_missing_and_doubled_columns_are_listed_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path, "x,x,y\n1,2,3\n4,5,6\n")
    with pytest.raises(
        DataError, match=r"(?s)4 mistakes.*no column 'label'; it has \['x', 'x', 'y'\].*'part'.*'id'.*several"
    ):
        Table(path, split="part", drop=("id",)).load()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "not a whole CSV"),
        ("a.csv", "x,label\n1,2\n1,2,3\n", "not a whole CSV"),
        ("a.csv", "x,label\n1,2\n", "has 1 rows"),
        ("a.csv", "x,label\n1,0\n,1\n2,0\n", "column 'x' has no value in 1 rows, the first is row 1"),
        ("a.csv", "x,label\na,0\n,1\nb,0\n", "column 'x' has no value in 1 rows, the first is row 1"),
        ("a.parquet", "junk " * 10, "not a whole CSV or parquet"),
        ("a.xlsx", "junk", r"neither \.csv nor"),
        ("a.csv.gz", "", "not a whole CSV"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        Table(str(tmp_path / name)).load()


def test_a_missing_file_and_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        Table(str(tmp_path / "a.csv")).load()
    with pytest.raises(SettingError, match="test is 2"):
        Table("a.csv", test=2)
    with pytest.raises(SettingError, match="most_categories is 1"):
        Table("a.csv", most_categories=1)


@pytest.mark.slow
def test_location30_loads(shared_data: Path) -> None:
    train, test = Table(str(shared_data / "location30.parquet")).load()
    assert (len(train), len(test)) == (4008, 1002)
    assert train.x.shape[1] == 446
    assert set(train.x.unique().tolist()) == {0.0, 1.0}
    assert len(train.classes) == 30
