from __future__ import annotations

import pytest
import torch

from membrane.core import SettingError, to_plain
from membrane.defenses import EarlyStopping, WeightAveraging
from membrane.pptp import PPTP, FrozenPlan, Plan, RegionWindow, Stretch
from membrane.regions import copy_state, partition
from membrane.training import Defense
from tests.small import RECIPE, trained


def test_a_plan_survives_json() -> None:
    plan = Plan((Stretch("stage1", 1, 3, 0.25), Stretch("head", 2, 2)))
    assert Plan.from_plain(to_plain(plan)) == plan


@pytest.mark.parametrize("plain", [{}, {"stretches": [{"region": "a"}]}, {"stretches": [{"region": "a", "x": 1}]}])
def test_what_is_no_plan_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="not a plan"):
        Plan.from_plain(plain)


@pytest.mark.parametrize("stretch", [(3, 2, 0.0), (-1, 2, 0.0), (0, 1, 1.5), (0, 1, float("nan"))])
def test_impossible_stretches_are_refused(stretch: tuple[int, int, float]) -> None:
    with pytest.raises(SettingError):
        Stretch("stage1", *stretch)


def test_a_region_releases_one_stretch() -> None:
    with pytest.raises(SettingError, match="twice"):
        Plan((Stretch("a", 0, 1), Stretch("a", 2, 3)))


def test_the_state_is_the_window_on_the_region_and_final_elsewhere() -> None:
    one = trained()
    cut = partition(one.model)
    final = copy_state(one.model)
    state = Plan((Stretch("stage2", 1, 3, 0.25),)).state(final, one.trail, cut)
    early, inside = one.trail.window(1, 3), cut.keys(["stage2"])
    for key, value in state.items():
        if key in inside and value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * final[key] + 0.75 * early[key])
        else:
            assert torch.equal(value, final[key])


def test_no_stretches_change_no_bit() -> None:
    one = trained()
    released = FrozenPlan(Plan()).finish(one, torch.Generator()).model
    assert all(
        torch.equal(a, b) for a, b in zip(released.state_dict().values(), one.model.state_dict().values(), strict=True)
    )


def test_all_regions_from_one_window_are_weight_averaging() -> None:
    one = trained()
    expected = WeightAveraging(2, 5).finish(one, torch.Generator()).model.state_dict()
    found = RegionWindow((), 2, 5).finish(one, torch.Generator()).model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_inverse_edits_exactly_the_other_regions() -> None:
    one = trained()
    cut = partition(one.model)
    inverse = RegionWindow(("stage3",), 1, 3, where="inverse").finish(one, torch.Generator()).model.state_dict()
    final = copy_state(one.model)
    weights = {key for key, _ in one.model.named_parameters()}
    changed = {key for key in weights if not torch.equal(inverse[key], final[key])}
    assert changed == weights - cut.keys(["stage3"])


def test_random_channels_edit_as_many_parameters_as_the_set() -> None:
    one = trained()
    control = RegionWindow(("stage3",), 1, 3, where="random")
    random = control.finish(one, torch.Generator().manual_seed(0)).model
    final = copy_state(one.model)
    changed = sum(int((value != final[key]).sum()) for key, value in random.named_parameters())
    total = sum(value.numel() for value in random.parameters())
    assert changed / total == pytest.approx(partition(one.model).share(["stage3"]), abs=0.03)


def test_defenses_after_training_share_the_undefended_training() -> None:
    for defense in (PPTP(), FrozenPlan(Plan()), RegionWindow()):
        assert RECIPE.with_defense(defense).training_settings() == RECIPE.training_settings()
        assert defense.trained_as() == Defense()


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        (PPTP(), "members"),
        (FrozenPlan(Plan((Stretch("stage1", 1, 90),))), "no window"),
        (RegionWindow((), 1, 90), "no window"),
    ],
)
def test_what_would_fail_after_training_is_said_before(defense: Defense, words: str) -> None:
    assert any(words in mistake for mistake in defense.mistakes(RECIPE, 100, 100))


@pytest.mark.parametrize(
    "settings", [{"max_accuracy_drop": 3.0}, {"max_candidates": -1}, {"max_accuracy_drop": float("nan")}]
)
def test_nonsense_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        PPTP(**settings)  # type: ignore[arg-type]


def test_pptp_does_not_stand_on_what_acts_after_training_itself() -> None:
    with pytest.raises(SettingError, match="training-time defense"):
        PPTP(base=EarlyStopping(2))
