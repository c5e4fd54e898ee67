"""``membrane store``: what it prints, what it removes, and its exit status."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from membrane.cli import main
from membrane.core import Store
from membrane.core.upkeep import survey
from tests.core import places

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*argv: object) -> tuple[int, str, str]:
        status = main(["store", *map(str, argv)])
        shown = capsys.readouterr()
        return status, " ".join(shown.out.split()), shown.err

    return run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A store with one damaged entry, an orphan and a draft."""
    store = Store(tmp_path / "store")
    for kind in ("training", "release"):
        for key in ("a", "b"):
            store.save(kind, key, {"x": torch.zeros(3)}, {})
    Path(store.path("release", "a")).write_bytes(b"")
    store.files.remove("training/b.json")
    (tmp_path / "store" / "release" / ".c.json.1.1.tmp").touch()
    return tmp_path


def test_ls_shows_kinds(run_folder: Path, say: Say) -> None:
    status, out, err = say("ls", run_folder)
    assert (status, err) == (0, "")
    assert "release 2" in out
    assert "training 1" in out
    status, out, _ = say("ls", run_folder / "store", "--json")
    assert [(one["kind"], one["n_entries"]) for one in json.loads(out)["kinds"]] == [("release", 2), ("training", 1)]


def test_verify_names_the_damage_and_fails(run_folder: Path, say: Say) -> None:
    status, out, _ = say("verify", run_folder, "--quiet")
    assert status == 1
    assert "release/a: " in out
    assert "3 entries read" in out
    assert "1 damaged" in out
    assert "1 tensors without their JSON, 1 unfinished" in out
    assert f"membrane store prune {run_folder}" in out
    status, out, _ = say("verify", run_folder, "--quiet", "--json")
    assert status == 1
    assert [one["key"] for one in json.loads(out)["damaged"]] == ["a"]


def test_prune_looks_asks_and_removes(run_folder: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = say("prune", run_folder, "--dry-run")
    assert status == 0
    assert out.count("damaged: ") == out.count("no entry: ") == out.count("unfinished: ") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    status, _, err = say("prune", run_folder)
    assert status == 2
    assert "Pass --yes" in err
    assert len(survey(Store(run_folder / "store")).damaged) == 1
    for answer, gone in (("n\n", False), ("y\n", True)):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", terminal)
        status, out, _ = say("prune", run_folder)
        assert status == 0
        assert ("Removed 4 files" in out) == gone
    assert say("verify", run_folder, "--quiet")[0] == 0
    assert "Nothing is damaged" in say("prune", run_folder, "--yes")[1]


def test_weights_can_be_dropped_while_signals_stay(run_folder: Path, say: Say) -> None:
    status, out, _ = say("prune", run_folder, "--weights", "--yes")
    assert status == 0
    assert "all of kind 'training': 1 entries" in out
    store = Store(run_folder / "store")
    assert (list(store.keys("training")), list(store.keys("release"))) == ([], ["b"])


def test_weights_stay_where_they_are_all_there_is(tmp_path: Path, say: Say) -> None:
    Store(tmp_path).save("training", "a", {}, {})
    status, _, err = say("prune", tmp_path, "--weights", "--yes")
    assert status == 2
    assert "nothing would be left" in err
    assert Store(tmp_path).has("training", "a")


@pytest.mark.parametrize("place", [one for one in places.REMOTE if one != "file"])
def test_a_store_on_a_url_is_listed_verified_and_pruned(place: str, tmp_path: Path, say: Say) -> None:
    with places.store_at(place, tmp_path) as store:
        for key in ("a", "b"):
            store.save("release", key, {"x": torch.zeros(3)}, {})
        store.save("training", "a", {"x": torch.zeros(3)}, {})
        status, out, err = say("ls", store.root)
        assert (status, err) == (0, "")
        assert "release 2" in out
        assert " s ago" in out
        places.damage(store, "release/a.safetensors", lambda content: content[:-1])
        status, out, _ = say("verify", store.root, "--quiet")
        assert status == 1
        assert "release/a: " in out
        assert f"membrane store prune {store.root}" in out
        status, out, _ = say("prune", store.root, "--yes")  # a writer may be at it
        assert (status, store.has("release", "a")) == (0, True)
        assert "left alone" in out
        status, out, _ = say("prune", store.root, "--weights", "--yes")
        assert status == 0
        assert list(store.keys("training")) == []


def test_a_folder_without_a_store_is_refused(tmp_path: Path, say: Say) -> None:
    for command in ("ls", "verify", "prune"):
        status, _, err = say(command, tmp_path)
        assert status == 2
        assert "holds no store" in err
