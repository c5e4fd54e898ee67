"""What is read off the regions' outputs, against layers run one by one and discriminants written as loops."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.models import MLP, ResNet, ViT
from membrane.readings import RegionOutputs
from membrane.readings.region_outputs import Discriminant
from membrane.regions import partition
from membrane.regions.outputs import region_outputs
from tests.readings.test_questions import examples

Array = npt.NDArray[np.float64]


def sequence(kind: str) -> nn.Module:
    settings = ResNet((4, 8), (1, 1)) if kind == "images" else MLP((8, 8, 5))
    return settings.build(examples(kind, 9, 0), torch_generator(0, "weights")).eval()


def outputs_by_hand(network: nn.Module, names: tuple[str, ...], x: Tensor) -> list[Tensor]:
    """The children of a sequence, one after the other."""
    found, x = [], as_inputs(x)
    for name, child in network.named_children():
        x = child(x)
        if name in names:
            found.append(x.mean((2, 3)) if x.ndim == 4 else x)
    return found


@pytest.mark.parametrize("kind", ["images", "features"])
def test_a_regions_output_is_what_the_next_one_gets(kind: str) -> None:
    network, pool = sequence(kind), examples(kind, 37, 1)
    cut = partition(network, as_inputs(pool.x[:2]))
    batches = list(region_outputs(network, cut, pool.x, batch_size=10))
    with torch.no_grad():
        expected = outputs_by_hand(network, cut.names, pool.x)
    assert len(expected) == len(cut.names)
    for i, one in enumerate(expected):
        torch.testing.assert_close(torch.cat([batch[i] for batch in batches]), one)


def test_positions_of_a_sequence_are_averaged() -> None:
    network = ViT(patch=4, width=8, depth=2, heads=2).build(examples("images", 9, 0), torch_generator(0)).eval()
    x = examples("images", 9, 0).x
    cut = partition(network, as_inputs(x[:2]))
    (found,) = region_outputs(network, cut, x)
    assert [one.shape[1] for one in found] == [8] * (len(cut.names) - 1) + [4]
    seen: list[Tensor] = []
    hook = network.get_submodule(cut.names[1]).register_forward_hook(lambda *parts: seen.append(parts[2]))
    with torch.no_grad():
        network(as_inputs(x))
    hook.remove()
    torch.testing.assert_close(found[1], seen[0].mean(1))


def slow_logit(features: Array, y: list[int], n_classes: int, shrinkage: float, asked: Array, label: int) -> float:
    """Rescaled logit of the label at one point, by the densities of the classes."""
    means = [np.mean([f for f, c in zip(features, y, strict=True) if c == label], axis=0) for label in range(n_classes)]
    scatter = sum(np.outer(f - means[c], f - means[c]) for f, c in zip(features, y, strict=True))
    covariance = np.asarray(scatter) / (len(y) - n_classes)
    size = np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * size * np.eye(len(covariance)))
    densities = [math.exp(-float((asked - mean) @ inverse @ (asked - mean)) / 2) for mean in means]
    return math.log(densities[label] / (sum(densities) - densities[label]))


def test_readouts_are_discriminants_of_strangers() -> None:
    """Audited examples by both halves, strangers by the half that they are not in."""
    network, pool, strangers = sequence("features"), examples("features", 9, 1), examples("features", 60, 2)
    of_pool, of_strangers = RegionOutputs(0.3)(network, pool, strangers, torch_generator(3))
    cut = partition(network, as_inputs(pool.x[:2]))
    with torch.no_grad():
        known = [one.double().numpy() for one in outputs_by_hand(network, cut.names, strangers.x)]
        asked = [one.double().numpy() for one in outputs_by_hand(network, cut.names, pool.x)]
    first = (torch.randperm(60, generator=torch_generator(3)) % 2 == 0).numpy()
    for i in range(len(cut.names)):
        by_half = [
            lambda point, label, half=half, i=i: slow_logit(
                known[i][half], strangers.y[torch.from_numpy(half)].tolist(), 4, 0.3, point, label
            )
            for half in (first, ~first)
        ]
        expected = [np.mean([read(f, int(y)) for read in by_half]) for f, y in zip(asked[i], pool.y, strict=True)]
        np.testing.assert_allclose(of_pool[:, i], expected, rtol=1e-4, atol=1e-4)
        others = [by_half[1 if first[z] else 0](known[i][z], int(strangers.y[z])) for z in range(60)]
        np.testing.assert_allclose(of_strangers[:, i], others, rtol=1e-4, atol=1e-4)
        sizes = [math.log(math.sqrt(sum(v * v for v in f) / len(f))) for f in asked[i].tolist()]
        np.testing.assert_allclose(of_pool[:, len(cut.names) + i], sizes, rtol=1e-5, atol=1e-5)


def test_a_region_that_says_nothing_reads_as_a_guess() -> None:
    flat = Discriminant.fitted(torch.ones(20, 3), torch.arange(20) % 4, 4, 0.1)
    np.testing.assert_allclose(flat.logits(torch.ones(2, 3)), 0, atol=1e-9)


def test_a_class_without_strangers_counts_as_the_mean_of_all() -> None:
    y = torch.arange(30) % 3
    features = torch.randn(30, 2, generator=torch_generator(0)) + 3 * y[:, None]
    read = Discriminant.fitted(features, y, 4, 0.1)
    logits = read.logits(features.mean(0)[None])
    assert torch.isfinite(logits).all()
    assert int(logits.argmax()) in (1, 3)


class Tuples(nn.Module):
    """Its layers hand on pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Pair(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.second(self.first(x)[0])
        return answer


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(6)[:, :4])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.weight, x


def test_what_cannot_be_read_is_refused() -> None:
    pool, strangers = examples("features", 37, 1), examples("features", 40, 2)
    with pytest.raises(ModelError, match="region 'first' gives no tensor"):
        RegionOutputs()(Tuples(), pool, strangers, torch_generator(0))
    for few in (None, strangers[:1]):
        with pytest.raises(ModelError, match="population of 2 or more"):
            RegionOutputs()(sequence("features"), pool, few, torch_generator(0))
    for shrinkage in (0.0, 1.1, math.nan):
        with pytest.raises(SettingError, match="shrinkage"):
            RegionOutputs(shrinkage)


def test_columns_say_which_region_is_which() -> None:
    pool: Examples = examples("images", 37, 1)
    named = RegionOutputs().columns(sequence("images"), pool)
    assert named[:2] == ("readout stem", "readout stage1")
    assert named[-1] == "magnitude head"
