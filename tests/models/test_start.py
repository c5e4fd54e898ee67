from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from membrane.core.errors import ModelError, StoreError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MODELS, Model, ResNet, ViT, start_from

SMALL = ResNet((4, 8), (1, 1))


def images(n_classes: int = 4, channels: int = 3, seed: int = 0) -> Examples:
    x = torch.randint(0, 256, (8, channels, 8, 8), dtype=torch.uint8, generator=torch_generator(seed, "x"))
    return Examples(x, torch.arange(8) % n_classes, tuple("abcdefgh"[:n_classes]))


def build(model: Model = SMALL, n_classes: int = 4, seed: int = 0) -> nn.Module:
    return model.build(images(n_classes, seed=seed), torch_generator(seed))


def written(folder: Path, state: dict[str, Tensor]) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "before.safetensors")
    return folder / "before.safetensors"


def same(a: nn.Module, b: nn.Module) -> set[str]:
    other = b.state_dict()
    return {key for key, value in a.state_dict().items() if torch.equal(value, other[key])}


def test_all_weights_and_the_input_statistics_are_taken(tmp_path: Path) -> None:
    before, net = build(seed=1), build()
    said = start_from(net, written(tmp_path, before.state_dict()), 4)
    assert same(net, before) == set(net.state_dict())
    assert said == f"before.safetensors: {len(net.state_dict())} of {len(net.state_dict())} tensors taken."


def test_a_head_for_other_classes_stays_as_drawn_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, net, fresh = build(n_classes=7, seed=1), build(), build()
    with caplog.at_level("INFO", "membrane"):
        said = start_from(net, written(tmp_path, before.state_dict()), 4)
    assert "The head is new: the file has 7 classes, the data 4 (head.weight, head.bias)." in said
    assert said in caplog.text
    assert {"head.weight", "head.bias"} <= same(net, fresh)
    rest = {key: value for key, value in net.state_dict().items() if not key.startswith("head")}
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in rest.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_do_not_matter(tmp_path: Path, prefix: str) -> None:
    before, net = build(seed=1), build()
    start_from(net, written(tmp_path, {prefix + key: value for key, value in before.state_dict().items()}), 4)
    assert same(net, before) == set(net.state_dict())


def test_without_input_statistics_those_of_the_members_stay(tmp_path: Path) -> None:
    before, net, fresh = build(seed=1), build(), build()
    state = {key: value for key, value in before.state_dict().items() if not key.startswith("normalize")}
    start_from(net, written(tmp_path, state), 4)
    assert torch.equal(net.normalize.mean, fresh.normalize.mean)
    assert len(same(net, before)) >= len(state)


@pytest.mark.extras("timm")
def test_a_checkpoint_of_the_library_itself_fits_the_network_that_wraps_it(tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng():
        before = timm.create_model("resnet10t", num_classes=9)
    net = build(MODELS.make({"name": "timm", "arch": "resnet10t", "size": 32}))
    said = start_from(net, written(tmp_path, before.state_dict()), 4)
    assert "the file has 9 classes, the data 4 (net.fc.weight, net.fc.bias)" in said
    assert torch.equal(net.net.layer1[0].conv1.weight, before.layer1[0].conv1.weight)


def lose(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != "stem.0.weight"}


def add(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "aux.weight": torch.zeros(2)}


def recolour(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "stem.0.weight": state["stem.0.weight"][:, :1], "normalize.mean": torch.zeros(1)}


def widen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "head.weight": torch.zeros(7, 9)}


def two_sizes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "head.weight": torch.zeros(7, 8), "head.bias": torch.zeros(5)}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose, r"1 missing, first \['stem.0.weight'\]"),
        (add, r"1 unknown, first \['aux.weight'\]"),
        (recolour, r"of another shape, first 'normalize.mean' \(1,\) where the network has \(3,\)"),
        (widen, r"first 'head.weight' \(7, 9\) where the network has \(4, 8\)"),
        (two_sizes, "2 of another shape"),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_is_taken(
    tmp_path: Path, damage: Callable[[dict[str, Tensor]], dict[str, Tensor]], said: str
) -> None:
    net, fresh = build(), build()
    path = written(tmp_path, damage(build(seed=1).state_dict()))
    with pytest.raises(ModelError, match=said):
        start_from(net, path, 4)
    assert same(net, fresh) == set(net.state_dict())


def test_another_architecture_no_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Choose the model"):
        start_from(build(), written(tmp_path, build(ViT(patch=4, width=6, depth=1)).state_dict()), 4)
    with pytest.raises(StoreError, match="cannot read"):
        start_from(build(), tmp_path / "none.safetensors", 4)
    torch.save(build().state_dict(), tmp_path / "pickle.pt")
    with pytest.raises(StoreError, match="pickle"):
        start_from(build(), tmp_path / "pickle.pt", 4)


def test_a_counter_of_another_shape_is_refused(tmp_path: Path) -> None:
    state = build().state_dict()
    counter = next(key for key, value in state.items() if not value.ndim)
    with pytest.raises(ModelError, match=f"1 of another shape, first '{counter}'"):
        start_from(build(), written(tmp_path, {**state, counter: torch.zeros(2)}), 4)


def test_complex_weights_are_refused(tmp_path: Path) -> None:
    state = {key: value.to(torch.complex64) if value.ndim else value for key, value in build().state_dict().items()}
    with pytest.raises(ModelError, match="holds complex numbers in"):
        start_from(build(), written(tmp_path, state), 4)
