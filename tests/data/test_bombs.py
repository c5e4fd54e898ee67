"""Few bytes that would unpack to more than memory holds are refused before they are unpacked."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from membrane.core.errors import DataError
from membrane.data import Parquet, Table


def very_many_rows(path: Path, n: int) -> str:
    """Rows that are all alike: a parquet file of some hundred bytes for a million of them."""
    rows = {"image": pa.nulls(n, pa.binary()), "label": pa.array(np.zeros(n, np.int8))}
    pq.write_table(pa.table(rows), path, row_group_size=n, data_page_size=1 << 30, max_rows_per_page=n)
    return str(path)


def test_parquet_files_with_more_rows_or_cells_than_their_size_allows(tmp_path: Path) -> None:
    path = very_many_rows(tmp_path / "a.parquet", 20_000_000)
    assert Path(path).stat().st_size < 50_000
    with pytest.raises(DataError, match=r"says that it holds 20,000,000 rows in [\d,]+ bytes"):
        Parquet(path).load()
    with pytest.raises(DataError, match=r"would unpack to 40,000,000 cells or more, over 1,000 times its size"):
        Table(path).load()


def test_compressed_text_that_is_almost_nothing_but_repetition(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"x,label\n")
        for _ in range(60):
            file.write(b"0" * (1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"would unpack to [\d,]+ bytes or more"):
        Table(str(path)).load()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


def test_a_table_that_compresses_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x,label\n" + b"0,1\n1,0\n" * 20_000))
    assert len(Table(str(path)).load().train) == 32_000
    pq.write_table(pa.table({"x": [0, 1] * 50_000, "label": [0, 1] * 50_000}), tmp_path / "a.parquet")
    assert len(Table(str(tmp_path / "a.parquet")).load().train) == 80_000
