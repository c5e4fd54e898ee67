"""Readings on labels: by loops on real networks, and where linear models say what comes out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from membrane.core.errors import DataError, ModelError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.models import Answers, ResNet
from membrane.readings import AugmentedLabels, Boundary, NoisyLabels, Reading
from membrane.readings.augmented_labels import rotated, shifted
from membrane.readings.labels import labels_of
from membrane.verbs import audit
from tests.training import jobs

D, N = 64, 60


class Linear(nn.Module):
    """x W + b for flattened inputs; counts what it is asked."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.asked = nn.Parameter(weight), nn.Parameter(bias), 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        logits: Tensor = x.flatten(1) @ self.weight + self.bias
        return logits

    def distances(self, x: Tensor, y: Tensor) -> Tensor:
        """To the nearest plane beyond which another class is called; negative where one is already."""
        logits = self(x).detach()
        apart = (self.weight[:, y].T[:, :, None] - self.weight).norm(dim=1)  # (N, C)
        gap = (logits.gather(1, y[:, None]) - logits) / apart
        return gap.scatter(1, y[:, None], torch.inf).amin(1).detach()


def linear(n_classes: int = 2, d: int = D) -> Linear:
    generator = torch_generator(0, "linear")
    return Linear(torch.randn(d, n_classes, generator=generator), torch.randn(n_classes, generator=generator))


def on_images(n_classes: int = 2, side: int = 8) -> Linear:
    """Calls a grey image nothing in particular, so that images fall into all classes."""
    weight = linear(n_classes, 3 * side**2).weight.detach()
    return Linear(weight, -weight.sum(0) / 2)


def features(model: Linear, n: int = N, n_classes: int = 2) -> Examples:
    """Features under the model's own labels."""
    x = torch.randn(n, model.weight.shape[0], generator=torch_generator(1))
    return Examples(x, labels_of(model, x), tuple("abcdefghij"[:n_classes]))


def images(n: int = 9, side: int = 8) -> Examples:
    x = torch.randint(0, 256, (n, 3, side, side), generator=torch_generator(0), dtype=torch.uint8)
    return Examples(x, torch.arange(n) % 4, tuple("abcd"))


def test_shifts_repeat_the_edge() -> None:
    x = as_inputs(images(2, 5).x)
    moved = shifted(x, 2, -1)
    for row in range(5):
        for column in range(5):
            torch.testing.assert_close(moved[:, :, row, column], x[:, :, max(row - 2, 0), min(column + 1, 4)])


def test_a_quarter_turn_is_exact_and_turns_go_both_ways() -> None:
    x = as_inputs(images(2, 7).x)
    torch.testing.assert_close(rotated(x, 0.0), x, rtol=0, atol=1e-5)
    quarter = rotated(x, 90.0)
    ways = [torch.rot90(x, k, (2, 3)) for k in (1, -1)]
    assert min(float((quarter - one).abs().max()) for one in ways) < 1e-4
    torch.testing.assert_close(rotated(quarter, -90.0), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("reading", "n"), [(AugmentedLabels("shifts", 2), 9), (AugmentedLabels("rotations", 3), 7)], ids=["shifts", "turns"]
)
def test_bits_are_those_of_one_image_at_a_time(reading: AugmentedLabels, n: int) -> None:
    examples, model = images(), on_images(4)
    own = labels_of(model, as_inputs(examples.x))
    examples = examples.relabelled(own)  # so that some bits are 1
    bits, _ = reading(model, examples, None, torch_generator(0))
    assert reading.queries == n == bits.shape[1]
    assert 0 < bits.mean() < 1
    for i in range(len(examples)):
        ways = list(reading.augmented(as_inputs(examples.x[i : i + 1])))
        assert len({way.numpy().tobytes() for way in ways}) == n
        assert bits[i].tolist() == [float(model(way).argmax() == own[i]) for way in ways]
    if reading.by == "shifts":
        assert (bits[:, -1] == 1).all()  # the image itself


def test_noise_leaves_a_linear_model_sure_by_the_distance() -> None:
    model = linear()
    examples = features(model)
    share, _ = NoisyLabels(copies=2000, noise=0.5)(model, examples, None, torch_generator(0))
    expected = norm.cdf(model.distances(examples.x, examples.y).numpy() / 0.5)
    np.testing.assert_allclose(share[:, 0], expected, atol=4 * math.sqrt(0.25 / 2000))
    wrong, _ = NoisyLabels(copies=20)(model, examples.relabelled(1 - examples.y), None, torch_generator(0))
    assert (wrong == 0).all()


def test_zeros_and_ones_are_flipped() -> None:
    only_first = Linear(torch.tensor([[-1.0, 1.0], [0.0, 0.0]]), torch.tensor([0.5, -0.5]))
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    examples = Examples(x, x[:, 0].long(), ("a", "b"))
    share, _ = NoisyLabels(copies=4000, noise=0.2)(only_first, examples, None, torch_generator(0))
    np.testing.assert_allclose(share, 0.8, atol=4 * math.sqrt(0.16 / 4000))
    assert "at most 0.5" in NoisyLabels(noise=0.6).mistakes(examples, None)[0]
    assert not NoisyLabels(noise=0.6).mistakes(images(), None)


def test_distances_to_a_plane_are_found_to_a_few_percent() -> None:
    """2,500 queries in 64 dimensions; fewer find more."""
    model = linear()
    examples = features(model)
    exact = model.distances(examples.x, examples.y).numpy()
    found = {}
    for budget in (250, 2500):
        model.asked = 0
        found[budget] = Boundary(budget)(model, examples, None, torch_generator(0))[0][:, 0] / exact
        assert model.asked <= budget * len(examples)
    assert (found[2500] > 0.9999).all()
    assert (found[2500] < 1.06).all()
    assert np.median(found[2500]) < 1.04
    assert np.median(found[250]) > np.median(found[2500])


def test_distances_among_several_classes_stand_in_the_right_order() -> None:
    model = linear(10)
    examples = features(model, n_classes=10)
    exact = model.distances(examples.x, examples.y).numpy()
    found = Boundary(1000)(model, examples, None, torch_generator(0))[0][:, 0]
    assert (found > 0.9999 * exact).all()
    assert np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(exact)))[0, 1] > 0.9


def test_pictures_stay_pictures_and_errors_are_at_distance_0() -> None:
    model = on_images()
    examples = images(12)
    labels = labels_of(model, as_inputs(examples.x))
    assert 0 < int(labels.sum()) < len(labels)
    halfway = Examples(examples.x, torch.zeros(12, dtype=torch.int64), ("a", "b"))
    found = Boundary(1000)(model, halfway, None, torch_generator(0))[0][:, 0]
    right = (labels == 0).numpy()
    assert (found[~right] == 0).all()
    exact = model.distances(as_inputs(examples.x), labels).numpy()[right]
    assert (found[right] > 0.9999 * exact).all()  # the plane may be nearer outside of the box
    assert (found[right] < 2 * exact + 1).all()


def test_a_model_of_one_answer_has_no_boundary() -> None:
    never = Answers(lambda x: torch.zeros(len(x), dtype=torch.int64), "labels", n_classes=4)
    examples = images(3).relabelled(torch.zeros(3, dtype=torch.int64))
    assert Boundary(150)(never, examples, None, torch_generator(0))[0].tolist() == [[pytest.approx(192**0.5)]] * 3


@pytest.mark.parametrize("reading", [AugmentedLabels(), NoisyLabels(5), Boundary(150)], ids=lambda one: one.name)
def test_labels_are_all_that_is_read(reading: Reading) -> None:
    examples = images(20)
    model = ResNet((4, 8), (1, 1)).build(examples, torch_generator(0, "weights")).eval()
    examples = examples.relabelled(labels_of(model, as_inputs(examples.x)))
    only = Answers(lambda x: model(x).argmax(1), "labels", n_classes=4)
    found = [reading(one, examples, None, torch_generator(0))[0] for one in (model, only)]
    np.testing.assert_array_equal(*found)
    with pytest.raises(ModelError, match="gave no logits"):
        reading(nn.Flatten(0), examples, None, torch_generator(0))


def test_tables_are_neither_moved_nor_turned() -> None:
    table = features(linear())
    assert "Use 'label_noise'" in AugmentedLabels().mistakes(table, None)[0]
    assert "images are 8 x 8 pixels" in AugmentedLabels(reach=8).mistakes(images(), None)[0]
    assert not AugmentedLabels("rotations", 8).mistakes(images(), None)


def test_an_audit_is_refused_before_anything_is_trained() -> None:
    def never(members: Examples, holdout: object, generator: object) -> nn.Module:
        raise AssertionError

    with pytest.raises(DataError, match=r"attack 'label_augmented': reach is 4, and images are 4 x 4 pixels"):
        audit(never, jobs.task(), attacks=[{"name": "label_augmented", "reach": 4}])  # type: ignore[list-item]
