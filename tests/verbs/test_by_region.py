"""Where the leak can be read: asked for, measured at every region, and shown."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from membrane.attacks import Lineup, LossThreshold, Region
from membrane.core import Store
from membrane.core.errors import NotEnoughDataError
from membrane.core.values import Observation
from membrane.data import Splits, Task, make_task
from membrane.metrics import auc
from membrane.report import to_markdown
from membrane.report.by_region import by_region as table_of
from membrane.report.check import check_results
from membrane.report.page import render
from membrane.training import Bank, train_fleet
from membrane.verbs import Audit, audit
from membrane.verbs.by_region import by_region, with_regions
from membrane.verbs.observe import readings_of
from tests.training import jobs
from tests.training.jobs import small_recipe

WAYS = ("readout", "gradient", "magnitude")
RECIPE = small_recipe(epochs=30)


def task() -> Task:
    """Six models: two IN and two OUT references for each example of each target."""
    whole = jobs.examples(190)
    return make_task(Splits(whole[:150], whole[150:]), n_models=6, pool=120, holdout=30, canaries=6, seed=0)


@functools.cache
def audited() -> Audit:
    with tempfile.TemporaryDirectory() as folder:
        return audit(RECIPE, task(), attacks=["loss"], out=folder, regions=True)


def test_every_region_is_attacked_in_every_way() -> None:
    (entry,) = audited().results["entries"]
    found = entry["regions"]
    assert found["base"] == "lira"
    assert [(place["of"], place["region"]) for place in found["places"]] == [
        (way, region) for way in WAYS for region in ("hidden1", "head")
    ]
    assert all(set(place["slices"]) == set(entry["slices"]) for place in found["places"])
    assert set(entry["slices"]["population"]["attacks"]) == {"loss", "region", "gradient_norm"}


def test_areas_are_those_of_the_attack_at_that_region(tmp_path: Path) -> None:
    drawn = task()
    attacks = with_regions([LossThreshold()], len(drawn.membership))
    bank = train_fleet(RECIPE, drawn, Store(tmp_path), seed=0, readings=readings_of(attacks))
    found = by_region(bank, drawn, seed=0)
    assert found is not None
    assert found == audited().results["entries"][0]["regions"]
    population = np.delete(np.arange(len(drawn.pool)), drawn.canaries)
    for place in found["places"]:
        position = ("hidden1", "head").index(place["region"])
        attack = Region(of=place["of"], region=position)
        scores = np.stack([attack(_observed(bank, drawn, row)) for row in range(6)])
        area = auc(scores[:, population].ravel(), drawn.membership[:, population].ravel())
        spread = place["slices"]["population"]
        assert spread["value"] == pytest.approx(area)
        assert spread["low"] <= area <= spread["high"]


def _observed(bank: Bank, task: Task, row: int) -> Observation:
    return Lineup(bank.pool, task.membership, task.pool.y.numpy(), bank.test).observe(row, tuple(bank.pool.readings))


def test_nothing_is_read_unless_asked(tmp_path: Path) -> None:
    plain = audit(RECIPE, task(), attacks=["loss"], out=tmp_path).results
    assert "regions" not in plain["entries"][0]
    assert set(plain["entries"][0]["slices"]["population"]["attacks"]) == {"loss"}
    assert 'id="where"' not in render(plain)


def test_too_few_models_are_refused_before_training() -> None:
    with pytest.raises(NotEnoughDataError, match="'region' needs 2 IN references"):
        audit(RECIPE, jobs.task(), attacks=["loss"], regions=True)


def test_attacks_that_are_named_are_not_named_twice() -> None:
    named = with_regions([Region(of="magnitude")], 16)
    assert [attack.name for attack in named] == ["region", "gradient_norm"]
    assert named[0] == Region(of="magnitude")
    assert with_regions([], 16)[0] == Region()


def test_the_page_shows_every_area_with_its_interval() -> None:
    results = audited().results
    check_results(results)
    page, table = render(results), table_of(results["entries"][0])
    assert table is not None
    assert 'id="where"' in page
    assert table.heads == ["", *(f"{group} {part}" for group, width in table.groups[1:] for part in _parts(width))]
    for row in table.rows:
        for cell in row[1:]:
            assert cell.text in page
            assert f"[{cell.interval}]" in page
    assert to_markdown(results)


def _parts(width: int) -> tuple[str, ...]:
    return ("population", "canaries")[:width]
