"""Audits that ask for every example in several ways: stored apart, counted, refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import membrane
from membrane.attacks import Midpoint, RangeMembership
from membrane.core import Store
from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.training import train_fleet
from membrane.training.fleet import finished_rows
from membrane.training.keys import release_key
from membrane.verbs import audit, audit_model
from membrane.verbs.estimate import disk_bytes, questions
from tests.training import jobs
from tests.training.jobs import N_MODELS, small_recipe


def test_other_queries_ask_trained_models_again_and_leave_stored_answers_alone(tmp_path: Path) -> None:
    task, store = jobs.task(), Store(tmp_path)
    plain = train_fleet(small_recipe(), task, store, seed=0)
    before = sorted(path.name for path in (tmp_path / "training").glob("*.safetensors"))
    assert finished_rows(small_recipe(), task.asked("mirror"), store, 0) == []
    both = train_fleet(small_recipe(), task.asked("mirror"), store, seed=0)
    assert both.pool.shape == (N_MODELS, len(task.pool), 2)
    assert both.test.shape == (N_MODELS, len(task.test), 2)
    np.testing.assert_array_equal(both.pool.loss[..., :1], plain.pool.loss)
    assert (both.pool.loss[..., 1] != plain.pool.loss[..., 0]).any()
    assert sorted(path.name for path in (tmp_path / "training").glob("*.safetensors")) == before
    assert len(finished_rows(small_recipe(), task, store, 0)) == N_MODELS


def test_the_key_of_plain_answers_is_that_of_before_there_were_others() -> None:
    task = jobs.task()
    keys = {release_key(small_recipe(), task.asked(one), 0, 0) for one in ("identity", "mirror", "shifts")}  # type: ignore[arg-type]
    assert len(keys) == 3
    assert release_key(small_recipe(), task, 0, 0) in keys


def test_an_audit_counts_what_it_asks() -> None:
    attacks = ["loss", "base", RangeMembership(Midpoint())]
    found = audit(small_recipe(epochs=30), jobs.task(), queries="shifts", attacks=attacks)
    counts = {one["name"]: one["queries"] for one in found.results["attacks"]}
    assert counts == dict.fromkeys(("loss", "base", "range"), 18)
    assert found.results["task"]["queries"] == "shifts"
    plain = audit(small_recipe(epochs=30), jobs.task(), attacks=["loss", "gradient_norm"])
    assert {one["queries"] for one in plain.results["attacks"]} == {1}
    accuracy = [one.results["entries"][0]["accuracy"] for one in (found, plain)]
    assert accuracy[0] == accuracy[1]  # of the examples as they are


def test_an_estimate_counts_them_too() -> None:
    task = jobs.task()
    assert questions(task.asked("shifts")) == 18 * questions(task) == 18 * (len(task.pool) + len(task.test))
    assert disk_bytes({"a": small_recipe()}, task.asked("shifts")) > disk_bytes({"a": small_recipe()}, task)


def test_tables_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    x, y = torch.rand(200, 4, generator=torch_generator(0)), torch.arange(200) % 3

    def never(members: membrane.Examples, holdout: object, generator: object) -> torch.nn.Module:
        raise AssertionError

    with pytest.raises(SettingError, match=r"inputs are \(4,\)"):
        audit(never, membrane.from_arrays(x, y), queries="mirror", out=tmp_path)


def test_one_model_is_asked_in_several_ways() -> None:
    task = jobs.task()
    model = small_recipe().model.build(task.pool, torch_generator(0))
    found = audit_model(model, task.pool, task.test, queries="mirror", attacks=["loss", "confidence"])
    assert [one["queries"] for one in found.results["attacks"]] == [2, 2]
    with pytest.raises(SettingError, match="queries is 'twice'"):
        audit_model(model, task.pool, task.test, queries="twice")  # type: ignore[arg-type]
