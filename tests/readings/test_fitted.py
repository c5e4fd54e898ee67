"""What is fitted on strangers: what it expects, out of sample, and how students come near their teacher."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core.errors import DataError, ModelError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MLP, Answers, Normalization, signals_of
from membrane.readings import Expectation, Reading, Trajectory
from membrane.readings.expectation import By
from membrane.readings.fitting import fit_normalization, small_network
from membrane.readings.trajectory import Student


def features(n: int, seed: int) -> Examples:
    generator = torch_generator(seed, "features")
    x = torch.randn(n, 6, generator=generator)
    return Examples(x, (x[:, 0] > 0).long(), ("a", "b"))


class Graded(nn.Module):
    """Its margin is 4 x_1 plus noise that nothing explains, of deviation 1 where x_2 is below 0, else 3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.sin(1e4 * x[:, 5]) * 2**0.5 * torch.where(x[:, 2] < 0, 1.0, 3.0)
        margin = 4 * x[:, 1] + noise
        return torch.stack([-margin, margin], 1) / 2 * torch.where(x[:, :1] > 0, 1.0, -1.0)


@functools.cache
def expected(by: By) -> tuple[np.ndarray, np.ndarray]:
    return Expectation(by)(Graded(), features(500, 0), features(600, 1), torch_generator(0))


@pytest.mark.parametrize("by", ["gaussian", "quantile", "boosting"])
def test_a_regressor_expects_what_inputs_explain_and_no_more(by: By) -> None:
    for part, examples in zip(expected(by), (features(500, 0), features(600, 1)), strict=True):
        margin = signals_of(Graded(), examples).margin[:, 0]
        assert np.corrcoef(part[:, 0], 4 * examples.x[:, 1])[0, 1] > 0.9
        assert np.corrcoef(part[:, 0], margin)[0, 1] < 0.93  # of strangers, too: none is known by heart


def test_a_gaussian_head_knows_where_margins_spread() -> None:
    steady = features(500, 0).x[:, 2].numpy() < 0
    (pool, _), margin = expected("gaussian"), signals_of(Graded(), features(500, 0)).margin[:, 0]
    assert np.median(pool[~steady, 1]) > 1.5 * np.median(pool[steady, 1])
    z = (margin - pool[:, 0]) / pool[:, 1]
    assert abs(z.mean()) < 0.2
    assert 0.7 < z.std() < 1.6  # few strangers: a little too sure


@pytest.mark.parametrize("by", ["quantile", "boosting"])
def test_a_share_alpha_of_strangers_is_above_the_quantile(by: By) -> None:
    for part, examples in zip(expected(by), (features(500, 0), features(600, 1)), strict=True):
        above = np.mean(signals_of(Graded(), examples).margin[:, 0] > part[:, 0])
        assert 0.02 < above < (0.12 if by == "quantile" else 0.2)  # alpha is 0.05; trees overfit
        np.testing.assert_array_equal(part[:, 1], 1.0)


@pytest.mark.parametrize("by", ["gaussian", "boosting"])
def test_no_stranger_teaches_what_is_expected_of_itself(by: By) -> None:
    """Another margin of one stranger changes what is expected of the others, and not of itself."""
    examples = features(200, 2)
    reading, model = Expectation(by, folds=2, epochs=3), Graded()
    relabelled = examples.y.clone()
    relabelled[7] = 1 - relabelled[7]  # its margin changes sign, and the mean of all margins hardly
    before, after = (
        reading(model, examples, examples.relabelled(y), torch_generator(0))[1] for y in (examples.y, relabelled)
    )
    moved = np.abs(after - before)[:, 0]
    assert moved[7] < 0.05 * moved.max()


@functools.cache
def trajectory(student: Student) -> np.ndarray:
    model = MLP((16,)).build(features(300, 3), torch_generator(1)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
    return Trajectory(20, student)(model, features(200, 0), features(300, 1), torch_generator(0))[0]


@pytest.mark.parametrize("student", ["same", "small"])
def test_students_come_near_their_teacher(student: Student) -> None:
    *steps, teacher = trajectory(student).T
    away = [np.abs(losses - teacher).mean() for losses in steps]
    assert len(steps) == 20
    assert away[-1] < 0.7 * away[0]


def test_a_student_begins_afresh_on_what_strangers_look_like() -> None:
    examples = features(200, 0)
    network = MLP((16,)).build(features(50, 4), torch_generator(1))
    model_before = {key: value.clone() for key, value in network.state_dict().items()}
    student = Trajectory()._fresh(network, examples, torch_generator(2))
    assert all(torch.equal(value, model_before[key]) for key, value in network.state_dict().items())
    assert not torch.equal(student.head.weight, network.head.weight)
    torch.testing.assert_close(student.normalize.mean, examples.x.mean(0))


def test_small_networks_fit_their_inputs() -> None:
    images = Examples(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), ("a", "b"))
    network = small_network(images, 3, torch_generator(0))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    fit_normalization(network, Examples(images.x + 51, images.y, images.classes))
    (normalization,) = (one for one in network.modules() if isinstance(one, Normalization))
    assert normalization.mean.item() == pytest.approx(0.2)


@pytest.mark.parametrize("reading", [Expectation(), Trajectory()], ids=lambda one: one.name)
def test_too_small_a_population_is_refused(reading: Reading) -> None:
    pool, model = features(20, 0), MLP((4,)).build(features(20, 0), torch_generator(0))
    assert "there are 0" in reading.mistakes(pool, None)[0]
    assert reading.mistakes(pool, features(100, 1)) == []
    with pytest.raises(DataError, match="population of 100 or more; there are 99"):
        reading(model, pool, features(99, 1), torch_generator(0))


def test_of_answers_alone_the_architecture_is_not_known() -> None:
    asked = Answers(lambda x: torch.zeros(len(x), 2), "logits")
    with pytest.raises(ModelError, match='student = "small"'):
        Trajectory(1)(asked, features(10, 0), features(100, 1), torch_generator(0))
    assert Trajectory(1, "small")(asked, features(10, 0), features(100, 1), torch_generator(0))[0].shape == (10, 2)
