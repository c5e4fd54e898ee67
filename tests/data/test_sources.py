"""The same questions to every data source; `tests/data/sources.py` writes small data for each."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from membrane.core.errors import DataError, SettingError
from membrane.core.settings import to_plain
from membrane.data import SOURCES, Digits, OnDisk, Source
from tests.data.archives import trusted
from tests.data.sources import ROWS


def test_every_source_has_a_row() -> None:
    assert set(ROWS) == set(SOURCES)


@pytest.fixture(params=sorted(ROWS))
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return trusted(ROWS[request.param](tmp_path), monkeypatch)


def test_a_source_loads_two_splits_of_one_kind_and_always_the_same(source: Source) -> None:
    train, test = source.load()
    assert train.x.shape[1:] == test.x.shape[1:]
    assert train.x.dtype == test.x.dtype
    assert train.classes == test.classes
    assert train.source == test.source
    again = source.load()
    assert [part.checksum() for part in (train, test)] == [part.checksum() for part in again]


def test_settings_of_a_source_are_plain_and_read_back(source: Source) -> None:
    plain = json.loads(json.dumps(to_plain(source)))
    assert SOURCES.make(plain) == source


def test_nothing_is_missing_until_it_is_gone(source: Source, tmp_path: Path) -> None:
    assert source.missing() == []
    if isinstance(source, OnDisk):  # makes its own folder
        source = source.of
    for setting in source.paths:
        value = getattr(source, setting)
        nowhere = str(tmp_path / "nowhere") if isinstance(value, str) else (str(tmp_path / "nowhere"),)
        gone = dataclasses.replace(source, **{setting: nowhere})
        assert "nowhere" in " ".join(gone.missing())
        with pytest.raises(DataError, match="nowhere"):
            gone.load()


def test_sources_are_made_by_name() -> None:
    assert SOURCES.make({"name": "digits", "test": 300}) == Digits(300)
    with pytest.raises(SettingError, match="needs a value for 'path'"):
        SOURCES.make("parquet")
