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

State = dict[str, torch.Tensor]


def history() -> tuple[list[State], list[State]]:
    """Mean of each epoch's updates and the weights at its end, read by a defense that changes nothing."""
    means: list[State] = []
    ends: list[State] = []
    updates: list[State] = []

    class Watching(Defense):
        def step(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
            super().step(model, optimizer, loss)
            updates.append(copy_state(model))

        def end_epoch(self, model: torch.nn.Module, epoch: int) -> None:
            assert epoch == len(ends)
            ends.append(copy_state(model))
            means.append(mean_of(updates))
            updates.clear()

    done = fit(recipe_with(Watching()), MEMBERS, HOLDOUT, 0)
    assert weight_bits(done.model) == weight_bits(training(Defense()).model)
    return means, ends


def mean_of(states: list[State]) -> State:
    """Of what floats; the rest as it was first."""
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).float()
        if value.is_floating_point()
        else value
        for key, value in states[0].items()
    }


def recalibrated(done: Trained, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model = recipe().model.build(MEMBERS, torch_generator(0)).eval()
    load_state(model, state)
    recalibrate(model, done.members.x)
    return copy_state(model)


def test_releases_are_the_means_of_the_weights_of_their_epochs() -> None:
    done, (means, ends) = training(Defense()), history()
    integers = {key: value for key, value in copy_state(done.model).items() if not value.is_floating_point()}
    for defense, window in (
        (EarlyStopping(0), ends[:1]),
        (EarlyStopping(4), ends[4:5]),
        (EarlyStopping(EPOCHS - 1), ends[EPOCHS - 1 :]),
        (WeightAveraging(0, 3), means[:4]),
        (WeightAveraging(2, 5), means[2:6]),
        (WeightAveraging(6, 6), means[6:7]),
        (WeightAveraging(2, 5, of="epochs"), ends[2:6]),
    ):
        expected = recalibrated(done, mean_of(window) | integers)
        for key, value in copy_state(finished(defense).model).items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4, msg=f"{defense}: {key}")
    assert finished(EarlyStopping(4)).facts == {"epoch": 4}
    assert finished(WeightAveraging(2, 5)).facts == {"first": 2, "last": 5}


@pytest.mark.parametrize(
    "defense", [EarlyStopping(EPOCHS), WeightAveraging(2, EPOCHS), WeightAveraging(2, EPOCHS, of="epochs")]
)
def test_epochs_that_were_never_trained_are_refused(defense: Defense) -> None:
    with pytest.raises(SettingError, match=rf"; the nearest is (\d+ to )?{EPOCHS - 1}"):
        finished(defense)
    assert len(defense.mistakes(recipe_with(Defense()), 1000, 1000)) == 1


def test_a_short_schedule_is_a_whole_one() -> None:
    short = training(ShortSchedule(3))
    assert short.trail.n_epochs == 3
    plain = fit(recipe(epochs=3, batch_size=8, lr=0.05), MEMBERS, HOLDOUT, 0)
    assert weight_bits(short.model) == weight_bits(plain.model)


def test_a_short_schedule_never_lengthens() -> None:
    assert ShortSchedule(EPOCHS + 5).adapt(recipe_with(Defense())).epochs == EPOCHS
