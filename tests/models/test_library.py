from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MODELS
from membrane.models.library import LibraryModel, Resize, other_channels, small_stem
from membrane.models.norms import to_group_norm

torchvision = pytest.mark.extras("torchvision")
timm = pytest.mark.extras("timm")


def row(settings: dict[str, object], *rest: object) -> object:
    return pytest.param(settings, *rest, marks=timm if settings["name"] == "timm" else torchvision)


def images(size: int, channels: int = 3, n_classes: int = 4) -> Examples:
    x = torch.randint(0, 256, (n_classes, channels, size, size), dtype=torch.uint8, generator=torch_generator(0))
    return Examples(x, torch.arange(n_classes), tuple("abcdefghij"[:n_classes]))


def build(settings: dict[str, object], examples: Examples) -> nn.Module:
    return MODELS.make(settings).build(examples, torch_generator(0))


@pytest.mark.parametrize("name", [n for n in MODELS if issubclass(MODELS.entry(n), LibraryModel)])
def test_without_the_library_the_command_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingError, match=rf"'{name}' needs (timm|torchvision): pip install 'membrane\[vision\]'"):
        MODELS.make(name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param(
            {"name": "torchvision", "arch": "resnett18"}, "Did you mean 'resnet18'. There are 80", marks=torchvision
        ),
        row({"name": "torchvision", "stem": "tiny"}, "stem is 'tiny'"),
        row({"name": "torchvision", "size": 0}, "size is 0"),
        row({"name": "densenet121", "growth": 0}, "growth is 0"),
        row({"name": "mobilenet_v3", "dropout": 1.0}, "dropout 1.0 from 0 to below 1"),
        row({"name": "swin_tiny", "norm": "layer"}, "norm is 'layer'"),
        row({"name": "timm", "arch": "resnett18"}, "Did you mean 'resnet"),
        row({"name": "timm", "stem": "tiny"}, "stem is 'tiny'"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        MODELS.make(settings)


@pytest.mark.parametrize(
    ("settings", "size", "said"),
    [
        pytest.param(
            {"name": "torchvision", "arch": "alexnet"}, 32, "cannot take images of .3, 32, 32.", marks=torchvision
        ),
        pytest.param(
            {"name": "torchvision", "arch": "vit_b_16"}, 40, "torchvision cannot build vit_b_16", marks=torchvision
        ),
        row({"name": "timm", "arch": "levit_128s"}, 9, "images of"),
        pytest.param(
            {"name": "timm", "arch": "local-dir:/nowhere"}, 32, "timm cannot build local-dir:/nowhere", marks=timm
        ),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(settings: dict[str, object], size: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build(settings, images(size))


@torchvision
def test_what_has_no_batchnorm_cannot_have_it_replaced() -> None:
    with pytest.raises(SettingError, match="no BatchNorm that GroupNorm could stand in for"):
        build({"name": "swin_tiny", "norm": "group"}, images(32))


@torchvision
@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"name": "densenet121"}, (32, 32)),
        ({"name": "mobilenet_v3"}, (32, 32)),
        ({"name": "convnext_tiny"}, (16, 16)),
        ({"name": "swin_tiny"}, (16, 16)),
        ({"name": "torchvision", "arch": "resnet18"}, (16, 16)),
        ({"name": "torchvision", "arch": "resnet18", "stem": "small"}, (32, 32)),
        ({"name": "torchvision", "arch": "resnet18", "size": 64}, (32, 32)),
    ],
    ids=str,
)
def test_small_images_keep_their_resolution_in_the_first_convolution(
    settings: dict[str, object], first: tuple[int, int]
) -> None:
    net = build(settings, images(32)).eval()
    shapes = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _m, _x, y: shapes.append(tuple(y.shape[2:])))
    net(torch.rand(1, 3, 32, 32))
    assert shapes[0] == first
    if first == (32, 32) and settings["name"] != "mobilenet_v3" and "size" not in settings:
        assert shapes[1] == first, "no pooling after it"


def test_a_stem_is_made_small_and_other_channels_fit() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3))
    small_stem(net)
    other_channels(net, 1)
    assert net[0](torch.rand(1, 1, 9, 9)).shape == (1, 4, 9, 9)
    assert net[0].bias is None
    assert isinstance(net[2], nn.Identity)
    patches = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2))
    small_stem(patches)
    assert patches[0](torch.rand(1, 3, 8, 8)).shape == (1, 4, 4, 4)
    assert isinstance(patches[2], nn.MaxPool2d), "a pooling that comes later stays"
    plain = nn.Sequential(nn.Conv2d(3, 4, 5))
    before = plain[0]
    small_stem(plain)
    other_channels(plain, 3)
    assert plain[0] is before
    with pytest.raises(ModelError, match="no convolution"):
        other_channels(nn.Sequential(nn.Linear(3, 3)), 1)


def test_groupnorm_takes_over_weight_and_bias_and_shares_channels_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Sequential(nn.BatchNorm2d(16), nn.BatchNorm2d(5)))
    kept = net[1].weight
    assert to_group_norm(net) == 3
    assert [layer.num_groups for layer in net.modules() if isinstance(layer, nn.GroupNorm)] == [4, 8, 1]
    assert net[1].weight is kept
    assert to_group_norm(net) == 0
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(net[:2](x)[:1], net[:2](x[:1]))


@timm
def test_what_timm_does_after_normalizing_it_does_after_groupnorm_too() -> None:
    from timm.layers import BatchNormAct2d

    net = nn.Sequential(BatchNormAct2d(8))
    to_group_norm(net)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(net(x), nn.functional.group_norm(x, 8).relu())


def test_resized_images_have_the_size_and_others_are_left_alone() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert Resize(12)(x).shape == (2, 3, 12, 12)
    assert Resize(8)(x) is x
    torch.testing.assert_close(Resize(4)(torch.full((1, 1, 8, 8), 0.3)), torch.full((1, 1, 4, 4), 0.3))


@timm
def test_published_weights_come_with_their_normalization_and_a_new_head(tmp_path: Path) -> None:
    """The path of a download, from a folder: timm reads both alike."""
    import json

    import timm as library
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        published = library.create_model("resnet10t", num_classes=7)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    facts = {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 7,
        "classifier": "fc",
        "first_conv": "conv1.0",
    }
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": facts}))
    net = build({"name": "timm", "arch": f"local-dir:{tmp_path}", "pretrained": True}, images(32))
    assert net.normalize.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert net.normalize.std.tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert torch.equal(net.net.layer1[0].conv1.weight, published.layer1[0].conv1.weight)
    assert net.net.fc.out_features == 4
    plain = build({"name": "timm", "arch": "resnet10t"}, images(32))
    assert not torch.equal(plain.net.layer1[0].conv1.weight, published.layer1[0].conv1.weight)


@timm
def test_without_a_connection_the_way_around_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    settings: dict[str, object] = {"name": "timm", "arch": "resnet10t.c3_in1k", "pretrained": True}
    with pytest.raises(
        ModelError, match=r"(?s)could not give the published weights of resnet10t.*name that file as the"
    ):
        build(settings, images(32))
    MODELS.make(settings).network((3, 32, 32), 4)  # a check needs none
