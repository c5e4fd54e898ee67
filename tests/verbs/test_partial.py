"""Audits that are stopped half way: readable, marked, and the same bits as ever once they go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import membrane
from membrane.core import Store
from membrane.core.errors import NotEnoughDataError, StoreError
from membrane.core.store import read_json
from membrane.core.upkeep import survey
from membrane.data import Examples, Splits, Task, make_task
from membrane.defenses import EarlyStopping, ShortSchedule
from membrane.training.divergence import DivergedError
from tests.core import places
from tests.training.jobs import examples, small_recipe
from tests.training.test_trouble import Breaking

N_MODELS = 8
PLAIN = small_recipe(epochs=2)
TWO = {"undefended": PLAIN, "short": PLAIN.with_defense(ShortSchedule(1))}
ATTACKS = ["loss", "midpoint", "lira"]


@pytest.fixture(scope="module")
def task() -> Task:
    whole = examples(190)
    return make_task(Splits(whole[:120], whole[120:]), n_models=N_MODELS, pool=120, holdout=0, canaries=6, seed=0)


def stop_after(n: int, label: str = "undefended") -> Callable[[str, float, float], None]:
    """Progress that presses Ctrl-C when ``n`` models of one pipeline are finished."""
    done = 0

    def progress(what: str, part: float, whole: float) -> None:
        nonlocal done
        done += what == f"{label}: models"
        if done == n:
            raise KeyboardInterrupt

    return progress


def audit(train: object, task: Task, out: Path | None, **settings: object) -> membrane.Audit:
    return membrane.audit(train, task, attacks=ATTACKS, out=out, seed=1, **settings)  # type: ignore[arg-type]


def stopped(train: object, task: Task, out: Path | None, progress: object) -> membrane.AuditStopped:
    with pytest.raises(membrane.AuditStopped) as stop:
        audit(train, task, out, progress=progress)
    return stop.value


def test_complete_pairs_of_the_first_pipeline_are_reported_and_marked(tmp_path: Path, task: Task) -> None:
    stop = stopped(TWO, task, tmp_path, stop_after(5))
    assert stop.audit is not None
    results = read_json(tmp_path / "results.json")
    assert results == stop.audit.results
    assert results["task"]["n_models"] == 4
    assert [entry["label"] for entry in results["entries"]] == ["undefended"]
    assert results["entries"][0]["slices"]["population"]["n_members"] == 4 * 57
    partial = results["partial"]
    assert (partial["models"], partial["of_models"], partial["attacks_left_out"]) == (4, 8, ["lira"])
    assert partial["finished"] == {"undefended": 5, "short": 0}
    for words in ("4 of 8 models of undefended are shown", "short 0 of 8", "cannot feed: lira"):
        assert words in partial["text"]
        assert words in str(stop)
    again = membrane.Audit.load(tmp_path)
    assert again.verdict[0] == partial["text"]
    assert "4 of 8 models of undefended" in again.to_markdown()
    assert 'class="partial"' in again.to_html(tmp_path / "report.html").read_text()


@pytest.mark.parametrize("n", [1, 5])
def test_going_on_ends_with_the_bits_of_an_unbroken_audit(tmp_path: Path, task: Task, n: int) -> None:
    whole = audit(TWO, task, tmp_path / "whole")
    assert "partial" not in whole.results
    stopped(TWO, task, tmp_path / "broken", stop_after(n))
    stopped(TWO, task, tmp_path / "broken", stop_after(n, "short"))
    audit(TWO, task, tmp_path / "broken")
    for name in ("results.json", "scores.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_pipelines_are_reported_as_they_will_be_in_the_end(tmp_path: Path, task: Task) -> None:
    stop = stopped(TWO, task, tmp_path, stop_after(6, "short"))
    assert stop.audit is not None
    alone = audit({"undefended": PLAIN}, task, tmp_path / "alone")
    assert stop.audit.results["entries"] == alone.results["entries"]
    assert stop.audit.results["task"]["n_models"] == N_MODELS
    text = stop.audit.results["partial"]["text"]
    assert "1 of 2 pipelines are finished and shown, with all their models" in text
    assert "Left out, not finished: short 6 of 8." in text


def test_too_few_models_say_what_there_is(tmp_path: Path, task: Task) -> None:
    stop = stopped(TWO, task, tmp_path, stop_after(3))
    assert stop.audit is None
    assert "undefended 3 of 8, short 0 of 8" in str(stop)
    assert "goes on from here" in str(stop)
    assert not (tmp_path / "results.json").exists()


def test_a_killed_audit_can_be_read_without_training(tmp_path: Path, task: Task) -> None:
    """What a kill leaves is a store without results."""
    stopped(TWO, task, tmp_path, stop_after(6))
    (tmp_path / "results.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.json")}
    found = audit(TWO, task, tmp_path, only_finished=True)
    assert found.results["partial"]["models"] == 6
    assert read_json(tmp_path / "results.json") == found.results
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.json")} == before
    with pytest.raises(NotEnoughDataError, match="undefended 0 of 8"):
        audit(TWO, task, tmp_path / "nothing", only_finished=True)
    whole = audit(TWO, task, tmp_path)
    assert audit(TWO, task, tmp_path, only_finished=True).results == whole.results


def test_a_whole_audit_is_not_replaced_by_a_partial_one(tmp_path: Path, task: Task) -> None:
    audit({"undefended": PLAIN}, task, tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    other = {"undefended": small_recipe(epochs=3)}
    assert "is of an earlier, whole audit and was left as it is" in str(stopped(other, task, tmp_path, stop_after(4)))
    assert (tmp_path / "results.json").read_bytes() == before
    audit(other, task, tmp_path)
    assert (tmp_path / "results.json").read_bytes() != before


def test_a_pipeline_that_diverges_takes_no_other_with_it(tmp_path: Path, task: Task) -> None:
    trains = {"undefended": PLAIN, "early": PLAIN.with_defense(EarlyStopping(0)), "broken": PLAIN}
    trains["broken"] = PLAIN.with_defense(Breaking("loss"))
    with pytest.raises(DivergedError, match="model 0: training diverged in epoch 1") as broken:
        audit(trains, task, tmp_path)
    assert "2 of 3 pipelines" in broken.value.__notes__[0]
    results = read_json(tmp_path / "results.json")
    assert [entry["label"] for entry in results["entries"]] == ["undefended", "early"]
    assert results["baseline"] == "undefended"


def test_a_function_that_is_called_anew_each_time_is_reported_all_the_same(task: Task) -> None:
    lock = threading.Lock()  # has no content that could be compared with a later run's

    def train(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
        with lock:
            return PLAIN(members, holdout, generator)

    stop = stopped(train, task, None, stop_after(4, "train"))
    assert stop.audit is not None
    assert stop.audit.results["partial"]["models"] == 4


def test_a_disk_that_fills_up_costs_no_finished_model(tmp_path: Path, task: Task) -> None:
    whole = audit(PLAIN, task, tmp_path / "whole")
    used = sum(path.stat().st_size for path in (tmp_path / "whole" / "store").rglob("*"))
    with places.small_disk(tmp_path / "disk", used // 1500) as disk:
        with pytest.raises(StoreError, match="No space left on device"):
            audit(PLAIN, task, disk)
        found = survey(Store(disk / "store"))
        assert 2 <= found.n_entries < 2 * N_MODELS
        assert (found.damaged, found.orphans, found.drafts) == ((), (), ())
        before = {path: path.stat().st_mtime_ns for path in (disk / "store").rglob("*.json")}
        places.grow(disk, 50_000)
        assert audit(PLAIN, task, disk).results == whole.results
        assert before.items() <= {path: path.stat().st_mtime_ns for path in (disk / "store").rglob("*.json")}.items()


def test_a_read_only_disk_still_reports_what_is_finished(tmp_path: Path, task: Task) -> None:
    whole = audit(PLAIN, task, tmp_path)
    with places.read_only(tmp_path):
        with pytest.raises(StoreError, match="Read-only file system"):
            audit(PLAIN, task, tmp_path)
        assert membrane.Audit.load(tmp_path).results == whole.results
