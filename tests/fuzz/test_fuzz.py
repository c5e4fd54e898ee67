"""A few seconds of `benchmarks/fuzz.py`, and that its guard sees what it is for."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz import GUARD, counts, fuzz, prepare
from benchmarks.fuzzing.mutation import Files
from benchmarks.fuzzing.readers import READERS, Reader
from membrane.core import DataError

INPUTS = 80  # of each reader: all good and hostile ones, but for bombs, and mutations


@pytest.mark.parametrize("name", READERS)
def test_nothing_but_our_own_errors_comes_out_of_hostile_files(name: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    tally = fuzz(READERS[name], INPUTS, seed=0, place=tmp_path)
    assert not tally.findings
    assert tally.inputs == INPUTS
    assert tally.accepted >= len(READERS[name].good())
    assert tally.refused


def test_every_reader_gets_twenty_thousand_of_a_million() -> None:
    assert sum(counts(1_000_000).values()) == 1_000_000
    assert min(counts(1_000_000).values()) >= 20_000


def one_reader(read: Callable[[Path], object]) -> Reader:
    """Accepts its good input, then does as told."""
    calls: list[Path] = []

    def reads(place: Path) -> None:
        calls.append(place)
        if len(calls) > 1:
            read(place)

    return Reader("one", 1, lambda: [{"a": b"abc"}], list, reads)


class Payload:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.getenv, ("HOME",)


def raise_one(problem: BaseException) -> None:
    raise problem


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (lambda place: {}["a"], "KeyError at ?"),
        (lambda place: raise_one(DataError("half \ud800")), "cannot be printed"),
        (lambda place: os.system("true"), "os.system"),
        (lambda place: subprocess.run(["true"], check=True), "subprocess.Popen"),
        (lambda place: pickle.loads(pickle.dumps(Payload())), "pickle.find_class"),
        (lambda place: eval("1 + 1"), "exec"),
        (lambda place: (place.parent / "elsewhere").write_bytes(b"x"), "elsewhere' to write"),
        (lambda place: __import__("this_was_not_there"), "import this_was_not_there"),
    ],
)
def test_what_should_not_happen_is_a_finding(
    deed: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "this_was_not_there.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    tally = fuzz(one_reader(deed), 1, seed=0, place=place, saved=tmp_path / "saved")
    assert said in str(tally.findings)
    assert (tmp_path / "saved" / "one" / "1-1" / "a").read_bytes() == b"abc"
    assert not GUARD.taken()


def test_an_input_is_the_same_whatever_the_count(tmp_path: Path) -> None:
    def seen(count: int) -> list[Files]:
        found: list[Files] = []
        reader = one_reader(lambda place: found.append({path.name: path.read_bytes() for path in place.iterdir()}))
        fuzz(reader, count, seed=3, place=tmp_path)
        return found

    assert seen(20) == seen(40)[:20]
