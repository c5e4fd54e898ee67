from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from membrane.core import ReleaseError, SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.data.loader import flip_and_crop
from membrane.models import logits_of
from membrane.pptp import PPTP, Budget, Plan, Probe, Search, Stretch, apply_plan, mix_response, protect
from membrane.regions import Trail
from membrane.training import fit
from tests.small import RECIPE, task, trained


def fresh_trail() -> Trail:
    """The shared model's trail, nothing released from it yet."""
    trail = copy.deepcopy(trained().trail)
    trail.released = None
    return trail


def test_the_users_own_class_comes_back_and_leaks_less() -> None:
    one = trained()
    trail = fresh_trail()
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    result = protect(one.model, trail, one.members, one.holdout, Budget(0.02), max_candidates=30, controls=False)
    assert type(result.model) is type(one.model)
    assert result.choice is not None
    assert result.choice.applied
    assert result.choice.leakage_after < result.choice.leakage_before
    assert all(torch.equal(value, before[key]) for key, value in one.model.state_dict().items())
    assert trail.released is not None
    assert not result.model.training


def test_a_second_different_release_is_refused() -> None:
    one = trained()
    trail = fresh_trail()
    first, second = (Plan((Stretch("stage3", 1, 3, keep),)) for keep in (0.0, 0.5))
    apply_plan(one.model, trail, one.members, first)
    apply_plan(one.model, trail, one.members, first)  # the same again is no new information
    with pytest.raises(ReleaseError, match="solve for the undefended"):
        apply_plan(one.model, trail, one.members, second)
    apply_plan(one.model, trail, one.members, second, force=True)


def test_two_releases_give_the_undefended_weights_back() -> None:
    """Why the refusal exists: final = (b - a) / (kb - ka) scaled back, plain linear algebra."""
    one = trained()
    keeps = (0.0, 0.5)
    plans = [Plan((Stretch("stage3", 1, 3, keep),)) for keep in keeps]
    a, b = (apply_plan(one.model, one.trail, one.members, plan, force=True).state_dict() for plan in plans)
    key = "stage3.0.conv1.weight"
    early = a[key]
    recovered = early + (b[key] - early) / keeps[1]
    torch.testing.assert_close(recovered, one.model.state_dict()[key], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(early, one.model.state_dict()[key], rtol=1e-2)


def test_an_empty_trail_is_refused() -> None:
    one = trained()
    with pytest.raises(SettingError, match="trail is empty"):
        protect(one.model, Trail(one.model), one.members, one.holdout)


@pytest.mark.slow
def test_the_defense_reports_how_it_came_to_its_plan() -> None:
    one = trained()
    finished = PPTP(max_accuracy_drop=0.02, max_candidates=30).finish(one, torch.Generator().manual_seed(0))
    again = PPTP(max_accuracy_drop=0.02, max_candidates=30).finish(one, torch.Generator().manual_seed(0))
    assert finished.facts["choice"]["plan"] == again.facts["choice"]["plan"]
    states = finished.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert finished.facts["risk_map"]["regions"]


def test_pptp_stands_on_a_training_time_defense() -> None:
    from membrane.defenses import RelaxLoss

    stacked = PPTP(base=RelaxLoss(0.5))
    assert stacked.trained_as() == RelaxLoss(0.5)
    assert RECIPE.with_defense(stacked).training_settings()["defense"] == {
        "name": "relaxloss",
        "alpha": 0.5,
        "upper": 1.0,
        "variant": "official",
    }


def test_data_sorted_by_class_give_a_plan_as_good() -> None:
    """Image folders come sorted: what is released must be what was measured, statistics included."""
    one = trained()
    members, holdout = (part[part.y.argsort(stable=True)] for part in (one.members, one.holdout))
    result = protect(one.model, fresh_trail(), members, holdout, Budget(0.02), max_candidates=20, controls=False)
    assert result.choice is not None
    assert result.choice.applied
    test = task().test
    before, after = (float((logits_of(m, test).argmax(1) == test.y).float().mean()) for m in (one.model, result.model))
    assert after >= before - 0.05


def test_early_windows_and_shares_are_tried_however_many_regions_there_are() -> None:
    generator = torch_generator(0)

    one = trained()
    probe = Probe(one.model, one.trail, one.members, one.holdout, generator)
    _, measured = mix_response(probe, numpy_generator(0))
    search = Search(probe, measured, max_candidates=5)
    search.run()
    assert len(search.measured) == len(measured) + 5


def test_a_trail_of_another_training_is_refused() -> None:
    """Mixing independently trained models is no protection, whatever their shapes."""
    one, other = trained(), fit(RECIPE, trained().members, None, seed=2)
    assert one.holdout is not None
    with pytest.raises(SettingError, match="last snapshot saw other weights"):
        protect(other.model, one.trail, one.members, one.holdout)
    with pytest.raises(SettingError, match="another network"):
        apply_plan(torch.nn.Linear(3, 3), fresh_trail(), one.members, Plan((Stretch("all", 1, 3),)))


@pytest.mark.slow
def test_statistics_of_other_inputs_than_the_trained_ones_are_flagged() -> None:
    with torch.random.fork_rng():
        one = fit(replace(RECIPE, augment=True, epochs=30), task().members(0), task().holdout, seed=1)
    assert one.augment is flip_and_crop
    flags = []
    for augment in (None, one.augment):
        probe = Probe(one.model, one.trail, one.members, one.holdout, torch_generator(0, "probe"), augment)
        flags.append(" ".join(mix_response(probe, numpy_generator(0))[0].flags))
    assert "pass the same augmentation" in flags[0]
    assert "augmentation" not in flags[1]
