from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.core.settings import to_plain
from membrane.data import Examples
from membrane.models import MLP, MODELS, Model, Normalization, ResNet, ViT, initialize
from membrane.regions import copy_state

NETS = [
    MLP(),
    MLP((7,)),
    MLP((8, 8, 8)),
    ResNet((8, 16), (1, 2)),
    ResNet((8, 16, 16), (1, 1, 1), norm="group"),
    ResNet((5,), (1,), norm="group"),
    ViT(patch=2, width=12, depth=2),
    ViT(patch=8, width=8, depth=1, heads=2),
]
nets = pytest.mark.parametrize("model", NETS, ids=str)


def images(n: int = 6, channels: int = 3, size: int = 8, n_classes: int = 4) -> Examples:
    x = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch_generator(0, "x"))
    return Examples(x, torch.arange(n) % n_classes, tuple("abcdefghij"[:n_classes]))


@nets
@pytest.mark.parametrize(("channels", "n_classes"), [(3, 4), (1, 2)])
def test_logits_have_one_row_an_input_and_one_column_a_class(model: Model, channels: int, n_classes: int) -> None:
    members = images(channels=channels, n_classes=n_classes)
    net = model.build(members, torch_generator(0)).eval()
    logits = net(members.x.float() / 255)
    assert logits.shape == (6, n_classes)
    assert torch.isfinite(logits).all()
    assert logits.std(0).min() > 0, "the logits depend on the input"
    assert all(tensor.device.type == "cpu" and torch.isfinite(tensor).all() for tensor in net.state_dict().values())


@nets
def test_initial_weights_come_from_the_generator_alone(model: Model) -> None:
    before = torch.get_rng_state()
    states = [copy_state(model.build(images(), torch_generator(seed))) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    drawn = [name for name, value in states[0].items() if not torch.equal(value, states[2][name])]
    net = model.build(images(), torch_generator(0))
    matrices = [name for name, parameter in net.named_parameters() if parameter.ndim >= 2]
    assert matrices
    assert set(matrices) <= set(drawn)


@nets
def test_settings_survive_their_plain_form(model: Model) -> None:
    assert MODELS.make(to_plain(model)) == model


def test_initial_weights_lie_where_pytorch_puts_them() -> None:
    net = nn.Sequential(nn.Conv2d(4, 64, 3, groups=2), nn.BatchNorm2d(64), nn.Linear(50, 2_000), nn.LayerNorm(3))
    net.extra = nn.Parameter(torch.full((400, 50), 9.0))
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.fill_(7)
    initialize(net, torch_generator(0))
    for layer, fan_in in ((net[0], 18), (net[2], 50)):
        bound = 1 / math.sqrt(fan_in)
        for parameter in layer.parameters():
            assert 0.8 * bound < parameter.abs().max() <= bound
        assert layer.weight.detach().std() == pytest.approx(bound / math.sqrt(3), rel=0.06)
    for norm in (net[1], net[3]):
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
    assert (net[1].running_mean == 0).all()
    assert (net[1].running_var == 1).all()
    assert net[1].num_batches_tracked == 0
    assert net.extra.detach().std() == pytest.approx(0.02, rel=0.05)


def test_inputs_are_normalized_by_the_members_statistics() -> None:
    members = images(n=50)
    net = MLP().build(members, torch_generator(0))
    out = net.normalize(members.x.float() / 255)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3))


def test_features_are_normalized_one_by_one_and_constants_stay_finite() -> None:
    x = torch.randn(40, 3, generator=torch_generator(0)) * torch.tensor([1.0, 100.0, 0.0]) + 5
    layer = Normalization(3)
    layer.fit(x)
    out = layer(x)
    torch.testing.assert_close(out.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    assert torch.isfinite(layer(x + 1)).all()


def test_resnet_has_the_shape_of_its_settings() -> None:
    net = ResNet().build(images(size=32, n_classes=10), torch_generator(0))
    assert [name for name, _ in net.named_children()] == [
        *("normalize", "stem", "stage1", "stage2", "stage3", "stage4", "pool", "flatten", "head")
    ]
    assert sum(parameter.numel() for parameter in net.parameters()) == 308_826
    x = net.stem(net.normalize(torch.rand(2, 3, 32, 32)))
    shapes = []
    for i in range(1, 5):
        x = net.get_submodule(f"stage{i}")(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]
    assert len(ResNet((8, 16), (3, 2)).build(images(), torch_generator(0)).stage1) == 3


def test_groupnorm_needs_no_batch() -> None:
    """One image alone gives what it gives in company, in training mode too; BatchNorm does not."""
    members = images()
    x = members.x.float() / 255
    for norm, alone in (("group", True), ("batch", False)):
        net = ResNet((8, 16), (1, 1), norm).build(members, torch_generator(0)).train()  # type: ignore[arg-type]
        assert torch.allclose(net(x)[:2], net(x[:2]), atol=1e-5) is alone


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "mlp", "widths": []}, "widths"),
        ({"name": "mlp", "widths": [8, 0]}, "widths"),
        ({"name": "mlp", "widths": 8}, "widths"),
        ({"name": "resnet", "widths": [8, -8], "blocks": [1, 1]}, "widths"),
        ({"name": "resnet", "blocks": [1, 1, 1]}, "4 widths and 3 blocks"),
        ({"name": "resnet", "blocks": [1, 0, 1, 1]}, "blocks"),
        ({"name": "resnet", "norm": "layer"}, "norm is 'layer'"),
        ({"name": "resnet", "norm": "group", "widths": [8, 12, 16, 16]}, "multiples of 8"),
        ({"name": "vit", "width": 10, "heads": 3}, "multiple of heads"),
        ({"name": "vit", "patch": 0}, "patch"),
        ({"name": "vit", "depth": 0}, "depth"),
        ({"name": "vit", "heads": 0}, "heads"),
        ({"name": "vit", "wdith": 3}, "Did you mean 'width'"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        MODELS.make(settings)


@pytest.mark.parametrize("model", [ResNet(), ViT()], ids=str)
def test_image_models_refuse_features(model: Model) -> None:
    features = Examples(torch.randn(4, 5), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    with pytest.raises(ModelError, match=r"takes images .* have shape \(5,\)\. Try 'mlp'"):
        model.build(features, torch_generator(0))


def test_patches_must_fill_the_image() -> None:
    with pytest.raises(ModelError, match="patch 3 does not divide images of 8x8"):
        ViT(patch=3).build(images(), torch_generator(0))
