from __future__ import annotations

import numpy as np
import pytest
import torch

from membrane.core import NotEnoughDataError, SettingError
from membrane.core.generators import numpy_generator, torch_generator
from membrane.data import Examples
from membrane.metrics import auc
from membrane.pptp import Plan, Probe, mix_response
from membrane.pptp.locators.mix_response import early_window
from membrane.regions import Trail
from tests.small import probe, task, trained


def test_the_map_finds_the_leak_that_is_there() -> None:
    one = probe()
    risk_map, measured = mix_response(one, numpy_generator(0), controls=torch_generator(0))
    base = measured[Plan()]
    labels = np.arange(len(base.members) + len(base.search)) < len(base.members)
    assert risk_map.leakage == auc(np.concatenate([base.members, base.search]), labels) > 0.6
    assert [region.name for region in risk_map.regions] == list(one.partition.names)
    assert max(region.leakage_drop.value for region in risk_map.regions) > 0.02
    for region in risk_map.regions:
        edited = measured[Plan.same((region.name,), *risk_map.window)]
        assert region.leakage_drop.value == pytest.approx(base.leakage - edited.leakage)
        assert region.accuracy_change.value == pytest.approx(edited.accuracy - base.accuracy)
        assert region.leakage_drop.low <= region.leakage_drop.value <= region.leakage_drop.high
        assert region.random_channels is not None
        assert region.displacement > 0
    assert sum(region.share for region in risk_map.regions) == pytest.approx(1)


def test_permuted_membership_gives_a_flat_map() -> None:
    """Half of the "members" really are members, and half of the "holdout" too: nothing is left to find."""
    inside = []
    for seed in range(3):
        risk_map, _ = mix_response(_permuted(seed), numpy_generator(seed))
        inside += [region.null.low <= region.leakage_drop.value <= region.null.high for region in risk_map.regions]
        assert any("not localizable" in flag for flag in risk_map.flags)
        assert abs(risk_map.leakage - 0.5) < 0.1
    assert np.mean(inside) >= 0.8  # 0.95 in the long run


def _permuted(seed: int) -> Probe:
    one, order = trained(), torch.randperm(500, generator=torch_generator(seed)).numpy()
    halves = (order[:250], order[250:])
    parts = []
    for members, others in (halves, halves[::-1]):
        x = torch.cat([one.members.x[members], one.holdout.x[others]])
        y = torch.cat([one.members.y[members], one.holdout.y[others]])
        shuffle = torch.randperm(500, generator=torch_generator(seed, "shuffle"))
        parts.append(Examples(x[shuffle], y[shuffle], one.members.classes))
    return Probe(one.model, one.trail, *parts, torch_generator(seed))


def test_locating_twice_gives_the_same_map() -> None:
    maps = [mix_response(probe(), numpy_generator(0))[0].plain() for _ in range(2)]
    for one in maps:
        one.pop("seconds")
    assert maps[0] == maps[1]


def test_the_model_is_left_alone() -> None:
    one = trained()
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    mix_response(probe(), numpy_generator(0))
    assert all(torch.equal(value, before[key]) for key, value in one.model.state_dict().items())


@pytest.mark.parametrize("few", ["members", "holdout"])
def test_too_few_are_refused_with_the_number(few: str) -> None:
    one = trained()
    parts = {"members": one.members, "holdout": task().holdout}
    parts[few] = parts[few][:499]
    with pytest.raises(NotEnoughDataError, match=r"500 .* there are 499"):
        Probe(one.model, one.trail, parts["members"], parts["holdout"], torch_generator(0))


def test_a_trail_without_an_early_stretch_is_refused() -> None:
    trail = Trail(trained().model)
    trail.snapshot()
    trail.snapshot()
    with pytest.raises(SettingError, match="early stretch"):
        early_window(trail)
