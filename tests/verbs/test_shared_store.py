"""Audits whose finished models lie where they are told, in a folder or under a URL, and are found there by others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import membrane
from membrane.core import Store, StoreError
from membrane.core.upkeep import prune
from membrane.defenses import EarlyStopping
from membrane.training import train_fleet
from membrane.training.engines import Engine, Processes, RayCluster
from tests.core import places, s3
from tests.training import jobs
from tests.training.jobs import N_MODELS, small_recipe

ATTACKS = ["loss", "midpoint"]


@pytest.fixture(params=[one for one in places.STORES if one != "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with places.store_at(request.param, tmp_path / "kept") as store:
        yield store


def test_two_runs_share_trainings_and_not_releases(store: Store, tmp_path: Path) -> None:
    task, plain = jobs.task(), small_recipe()
    early = plain.with_defense(EarlyStopping(0))
    found = membrane.audit(plain, task, attacks=ATTACKS, out=tmp_path / "a", store=store.root)
    trained = list(store.keys("training"))
    assert len(trained) == N_MODELS
    assert membrane.estimate(early, task, store=store.root).n_trainings == 0
    told: list[str] = []

    def progress(what: str, done: float, total: float) -> None:
        told.append(what)

    other = {"early": early, "plain": plain}
    both = membrane.audit(other, task, attacks=ATTACKS, out=tmp_path / "b", store=store.root, progress=progress)
    assert list(store.keys("training")) == trained
    assert not any("epochs" in what for what in told)
    assert len(list(store.keys("release"))) == 2 * N_MODELS
    assert {path.name for path in tmp_path.iterdir()} - {"kept"} == {"a", "b"}
    assert not (tmp_path / "a" / "store").exists()
    for attack in ATTACKS:  # what was stored is what the first run measured
        np.testing.assert_array_equal(
            both.measurements["plain"].scores[attack], found.measurements["undefended"].scores[attack]
        )


def test_the_results_are_those_of_a_store_in_the_run_folder(store: Store, tmp_path: Path) -> None:
    settings = {"attacks": ATTACKS, "seed": 2}
    here = membrane.audit(small_recipe(), jobs.task(), out=tmp_path / "here", **settings)  # type: ignore[arg-type]
    there = membrane.audit(small_recipe(), jobs.task(), store=store.root, **settings)  # type: ignore[arg-type]
    assert here.results == there.results
    again = membrane.audit(
        small_recipe(), jobs.task(), out=tmp_path / "again", store=store.root, only_finished=True, **settings
    )  # type: ignore[arg-type]
    assert again.results == here.results


def test_signals_without_weights_are_enough_for_the_same_audit(store: Store) -> None:
    first = membrane.audit(small_recipe(), jobs.task(), attacks=ATTACKS, store=store.root)
    assert len(prune(store, ["training"])) == 2 * N_MODELS
    assert membrane.audit(small_recipe(), jobs.task(), attacks=ATTACKS, store=store.root).results == first.results
    assert list(store.keys("training")) == []


def test_a_store_that_cannot_be_used_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("this was called although nothing it gives could be kept")

    (tmp_path / "file").write_text("")
    for store, said in (
        ("nothing://x", "Protocol not known"),
        (tmp_path / "file", "cannot write"),
    ):
        with pytest.raises(StoreError, match=said):
            membrane.audit(never, jobs.task(), attacks=ATTACKS, store=store)  # type: ignore[arg-type]


def test_an_estimate_cannot_tell_how_much_room_object_storage_has(tmp_path: Path) -> None:
    with places.store_at("memory", tmp_path) as store:
        about = membrane.estimate(small_recipe(), jobs.task(), store=store.root)
    assert about.free_disk is None
    assert about.tight == ()
    assert about.n_trainings == N_MODELS


def test_one_training_is_kept_and_found(store: Store) -> None:
    splits = membrane.Splits(jobs.examples(300), jobs.examples(60, seed=1))
    found = [membrane.audit_one_run(small_recipe(), splits, canaries=40, store=store.root) for _ in range(2)]
    assert found[0].results == found[1].results
    assert len(list(store.keys("training"))) == 1


@pytest.mark.extras("moto", "s3fs")
@pytest.mark.parametrize(
    "engine",
    [
        Processes(threads=1, workers=2),
        pytest.param(RayCluster(threads=1, workers=2), marks=[pytest.mark.extras("ray"), pytest.mark.slow]),
    ],
    ids=lambda engine: engine.name,
)
def test_workers_write_to_object_storage(engine: Engine, tmp_path: Path) -> None:
    """Each opens the same URL by itself."""
    with s3.bucket() as url:
        there = train_fleet(small_recipe(), jobs.task(), Store(f"{url}/store"), 0, engine=engine)
        assert Store(f"{url}/store").verify() == []
    here = train_fleet(small_recipe(), jobs.task(), Store(tmp_path), 0)
    assert jobs.bank_bits(here) == jobs.bank_bits(there)
