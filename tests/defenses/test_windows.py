from __future__ import annotations

import pytest
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.defenses import Defense, EarlyStopping, ShortSchedule, WeightAveraging
from membrane.regions import copy_state, load_state, recalibrate
from membrane.training import Trained, fit
from tests.defenses.questions import HOLDOUT, MEMBERS, finished, recipe_with, training
from tests.defenses.rows import EPOCHS
from tests.training.jobs import recipe, weight_bits


def snapshots() -> list[dict[str, torch.Tensor]]:
    """Weights after each epoch of the shared training, read by a defense that changes nothing."""
    states: list[dict[str, torch.Tensor]] = []

    class Watching(Defense):
        def end_epoch(self, model: torch.nn.Module, epoch: int) -> None:
            assert epoch == len(states)
            states.append(copy_state(model))

    done = fit(recipe_with(Watching()), MEMBERS, HOLDOUT, 0)
    assert weight_bits(done.model) == weight_bits(training(Defense()).model)
    return states


def recalibrated(done: Trained, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model = recipe().model.build(MEMBERS, torch_generator(0)).eval()
    load_state(model, state)
    recalibrate(model, done.members.x)
    return copy_state(model)


def test_releases_are_the_means_of_the_weights_of_their_epochs() -> None:
    done, states = training(Defense()), snapshots()
    for defense, first, last in (
        (EarlyStopping(0), 0, 0),
        (EarlyStopping(4), 4, 4),
        (EarlyStopping(EPOCHS - 1), EPOCHS - 1, EPOCHS - 1),
        (WeightAveraging(0, 3), 0, 3),
        (WeightAveraging(2, 5), 2, 5),
        (WeightAveraging(6, 6), 6, 6),
    ):
        window = states[first : last + 1]
        mean = {
            key: torch.stack([state[key].double() for state in window]).mean(0).float()
            if value.is_floating_point()
            else value
            for key, value in copy_state(done.model).items()
        }
        expected = recalibrated(done, mean)
        for key, value in copy_state(finished(defense).model).items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4, msg=f"{defense}: {key}")
        assert finished(defense).facts == {"first": first, "last": last}


@pytest.mark.parametrize("defense", [EarlyStopping(EPOCHS), WeightAveraging(2, EPOCHS), WeightAveraging(EPOCHS, 99)])
def test_epochs_that_were_never_trained_are_refused(defense: Defense) -> None:
    with pytest.raises(SettingError, match=rf"the nearest window is \d+ to {EPOCHS - 1}"):
        finished(defense)


def test_a_short_schedule_is_a_whole_one() -> None:
    short = training(ShortSchedule(3))
    assert short.trail.n_epochs == 3
    plain = fit(recipe(epochs=3, batch_size=8, lr=0.05), MEMBERS, HOLDOUT, 0)
    assert weight_bits(short.model) == weight_bits(plain.model)


def test_a_short_schedule_never_lengthens() -> None:
    assert ShortSchedule(EPOCHS + 5).adapt(recipe_with(Defense())).epochs == EPOCHS
