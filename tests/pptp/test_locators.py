"""Every estimator is asked the same: is a planted memory found, is nothing found where nothing is, is it repeatable?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import membrane
from membrane.core import NotEnoughDataError, SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.pptp import LOCATORS, RiskMap, Subject
from membrane.pptp.locators import permuted
from membrane.pptp.locators.judge import LEVEL, max_p_value
from membrane.pptp.locators.locator import Kind
from membrane.regions import copy_state
from tests.pptp.planted import REGIONS, ordinary, planted
from tests.small import trained

FINDS: set[Kind] = {"causal", "allocation"}  # others may look in the wrong place, and do
FINDING = [name for name in LOCATORS if LOCATORS.entry(name).kind in FINDS]


def located(name: str, subject: Subject, seed: int = 0) -> RiskMap:
    return LOCATORS.make(name).locate(subject, torch_generator(seed, "locate", name))


def found(risk_map: RiskMap) -> str | None:
    """Region with the highest score, None if the map is flat."""
    assert risk_map.p_value is not None
    if risk_map.p_value > LEVEL:
        return None
    return max(risk_map.regions, key=lambda region: region.leakage_drop.value).name


def test_four_estimators_are_held_to_finding_what_was_planted() -> None:
    assert FINDING == ["mix_response", "twin_swap", "gap_allocation", "intervention"]


@pytest.mark.parametrize("name", FINDING)
@pytest.mark.parametrize("region", [REGIONS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in REGIONS[1:])])
def test_a_planted_memory_is_found(name: str, region: str) -> None:
    subject = planted(region)
    assert subject.probe.unedited.leakage > 0.65
    assert found(located(name, subject)) == region


def test_reading_members_off_the_last_layer_does_not_say_where_the_memory_is() -> None:
    """Why a read-out may not choose a region: the head shows best what the first layer remembers."""
    risk_map = located("depth_readout", planted("hidden1"))
    assert max(risk_map.regions, key=lambda region: region.leakage_drop.value).name != "hidden1"


@pytest.mark.parametrize("name", LOCATORS)
def test_permuted_membership_gives_a_flat_map(name: str) -> None:
    """Half of the members are members and half of the others are: 95 of 100 maps are flat, so 1 of 3 may not be."""
    subject, holdout = ordinary()
    subject = replace(subject, twins=planted("hidden2").twins)
    maps = [located(name, permuted(subject, holdout, torch_generator(seed, "permuted")), seed) for seed in range(3)]
    flat = [one for one in maps if found(one) is None]
    assert len(flat) >= 2
    assert all(any("not localizable" in flag for flag in one.flags) for one in flat)


@pytest.mark.parametrize("name", LOCATORS)
def test_one_output_for_all(name: str) -> None:
    subject, _ = ordinary()
    before = copy_state(subject.probe.model)
    first, second = (located(name, subject).plain() for _ in range(2))
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second
    assert first["method"] == name
    assert first["unit"]
    assert [region["name"] for region in first["regions"]] == list(REGIONS)
    for region in first["regions"]:
        risk = region["leakage_drop"]
        assert risk["low"] <= risk["value"] <= risk["high"]
        assert region["null"]["low"] <= region["null"]["value"] <= region["null"]["high"]
    assert all(torch.equal(value, before[key]) for key, value in copy_state(subject.probe.model).items())


@pytest.mark.parametrize("name", ["twin_swap", "intervention"])
def test_estimators_that_train_say_that_they_need_the_recipe(name: str) -> None:
    subject, _ = ordinary()
    with pytest.raises(SettingError, match=r"how this one was trained is not known. Pass recipe="):
        located(name, replace(subject, recipe=None))


def test_settings_that_make_no_sense_are_refused() -> None:
    wrong = [
        {"name": "twin_swap", "permutations": 1},
        {"name": "gap_allocation", "batch": 0},
        {"name": "intervention", "lr": -1.0},
        {"name": "self_influence", "examples": 1},
        {"name": "fisher_ratio", "examples": 1},
        {"name": "past", "batches": 3},
    ]
    for settings in wrong:
        with pytest.raises(SettingError, match=f"{settings['name']}: .* must be"):
            LOCATORS.make(settings)
    with pytest.raises(SettingError, match="Did you mean 'twin_swap'"):
        LOCATORS.make("twinswap")


def test_the_verb_takes_a_name_settings_or_an_estimator() -> None:
    one = trained()
    data = (one.members.x, one.members.y), (one.holdout.x, one.holdout.y)
    by_name, by_settings, by_object = (
        membrane.locate(one.model, one.trail, *data, estimator=estimator)
        for estimator in ("past", {"name": "past", "batches": 12}, LOCATORS.make("past"))
    )
    assert by_name.regions == by_settings.regions == by_object.regions


def test_a_map_of_pure_chance_stands_out_in_one_of_twenty_cases() -> None:
    """Regions of unequal spread that depend on each other, scored by chance."""
    generator = numpy_generator(0, "chance")
    spread = np.array([0.1, 1.0, 5.0])
    common = np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1]])
    outcomes = []
    for _ in range(600):
        drawn = generator.standard_normal((100, 3)) @ common * spread
        outcomes.append(max_p_value(drawn[0], drawn[1:]) <= 0.05)
    assert np.mean(outcomes) == pytest.approx(0.05, abs=0.03)
    assert max_p_value(np.zeros(2), np.zeros((9, 2))) == 1.0
    assert max_p_value(np.array([0.0, 9.0]), np.array([[0.0, -1.0], [0.0, 1.0], [0.0, 0.5]])) == 0.25


def test_twins_that_share_too_much_are_refused() -> None:
    twins = planted("head").twins
    assert twins is not None
    with pytest.raises(NotEnoughDataError, match="there are 49"):
        replace(twins, of_second=twins.of_second[:49])
