from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from membrane.core.errors import ModelError, SettingError
from membrane.core.generators import torch_generator
from membrane.core.settings import to_plain
from membrane.data import Examples
from membrane.models import (
    MLP,
    MODELS,
    VGG11,
    VGG16,
    Model,
    Normalization,
    PurchaseMLP,
    ResNet,
    ResNet18,
    ResNet20,
    ResNet56,
    TexasMLP,
    ViT,
    ViTTiny,
    WideResNet,
    WRN16x4,
    WRN28x2,
    initialize,
)
from membrane.regions import copy_state, needs_recalibration, partition

NETS = [
    MLP(),
    MLP((7,)),
    MLP((8, 8, 8)),
    MLP((8,), standardize=False),
    ResNet((8, 16), (1, 2)),
    ResNet((8, 16, 16), (1, 1, 1), norm="group"),
    ResNet((5,), (1,), norm="group"),
    ViT(patch=2, width=12, depth=2),
    ViT(patch=8, width=8, depth=1, heads=2),
    PurchaseMLP((8, 7)),
    TexasMLP((8, 7, 6)),
    ResNet18((8, 16), (2, 2)),
    ResNet20((4, 8, 16)),
    ResNet56((4, 8), (9, 9)),
    ViTTiny(width=12, depth=2),
    WideResNet(depth=10, factor=1),
    WRN16x4(factor=1, norm="group"),
    WRN28x2(factor=1),
    VGG11((4, 8, 8), (1, 1, 2), hidden=8),
    VGG16((4, 8, 8), (2, 1, 2), hidden=8, norm="group"),
]
# Of other libraries, made only where those are: settings, and the side of an image that is large enough.
LIBRARY_NETS = [
    ({"name": "densenet121", "growth": 4}, 16),
    ({"name": "densenet121", "growth": 4, "norm": "group"}, 16),
    ({"name": "mobilenet_v3", "width": 0.25}, 16),
    ({"name": "mobilenet_v3", "version": "large", "width": 0.25, "norm": "group"}, 16),
    ({"name": "convnext_tiny"}, 16),
    ({"name": "swin_tiny"}, 16),
    ({"name": "torchvision", "arch": "resnet18", "stem": "small"}, 8),
    ({"name": "torchvision", "arch": "shufflenet_v2_x0_5", "size": 32}, 16),
    ({"name": "torchvision", "arch": "googlenet", "size": 32, "norm": "group"}, 16),
    ({"name": "timm", "arch": "resnet18", "stem": "small", "norm": "group"}, 8),
    ({"name": "timm", "arch": "vit_tiny_patch16_224", "stem": "library"}, 32),
]
_LIBRARY = {"timm": "timm"}
nets = pytest.mark.parametrize(
    ("model", "size"),
    [
        *(pytest.param(model, 8, id=str(model)) for model in NETS),
        *(
            pytest.param(
                row, size, id=str(row), marks=pytest.mark.extras(_LIBRARY.get(str(row["name"]), "torchvision"))
            )
            for row, size in LIBRARY_NETS
        ),
    ],
)


def made(model: Model | dict[str, object]) -> Model:
    return model if isinstance(model, Model) else MODELS.make(model)


def test_every_entry_of_the_catalogue_has_a_row() -> None:
    assert {model.name for model in NETS} | {row["name"] for row, _ in LIBRARY_NETS} == set(MODELS)


def images(n: int = 6, channels: int = 3, size: int = 8, n_classes: int = 4) -> Examples:
    x = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch_generator(0, "x"))
    return Examples(x, torch.arange(n) % n_classes, tuple("abcdefghij"[:n_classes]))


@nets
@pytest.mark.parametrize(("channels", "n_classes"), [(3, 4), (1, 2)])
def test_logits_have_one_row_an_input_and_one_column_a_class(
    model: Model | dict[str, object], size: int, channels: int, n_classes: int
) -> None:
    members = images(channels=channels, size=size, n_classes=n_classes)
    net = made(model).build(members, torch_generator(0)).eval()
    logits = net(members.x.float() / 255)
    assert logits.shape == (6, n_classes)
    assert torch.isfinite(logits).all()
    assert logits.std(0).min() > 0, "the logits depend on the input"
    assert all(tensor.device.type == "cpu" and torch.isfinite(tensor).all() for tensor in net.state_dict().values())


@nets
def test_initial_weights_come_from_the_generator_alone(model: Model | dict[str, object], size: int) -> None:
    members, before = images(size=size), torch.get_rng_state()
    built = [made(model).build(members, torch_generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    states = [copy_state(net) for net in built]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    drawn = [name for name, value in states[0].items() if not torch.equal(value, states[2][name])]
    layers = [name for name, layer in built[0].named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert layers
    assert {f"{name}.weight" for name in layers} <= set(drawn)


@nets
def test_settings_survive_their_plain_form(model: Model | dict[str, object], size: int) -> None:
    assert MODELS.make(to_plain(made(model))) == made(model)


@nets
def test_the_network_that_is_checked_is_the_one_that_is_built(model: Model | dict[str, object], size: int) -> None:
    """Checks look at a network before any data is loaded, some of them on no device."""
    before = torch.get_rng_state()
    with torch.device("meta"):
        bare = made(model).network((3, size, size), 4)
    assert torch.equal(torch.get_rng_state(), before)
    built = made(model).build(images(size=size), torch_generator(0))
    assert {key: value.shape for key, value in bare.state_dict().items()} == {
        key: value.shape for key, value in built.state_dict().items()
    }


@nets
def test_groups_leave_no_statistics_and_regions_are_few(model: Model | dict[str, object], size: int) -> None:
    net = made(model).build(images(size=size), torch_generator(0))
    cut = partition(net, torch.rand(2, 3, size, size, generator=torch_generator(0)))
    n_layers = sum(isinstance(layer, nn.Linear | nn.Conv2d) for layer in net.modules())
    assert min(4, n_layers) <= len(cut.regions) <= 12
    if getattr(made(model), "norm", "batch") == "group":
        assert not needs_recalibration(net)


@pytest.mark.parametrize("model", [MLP((4,), standardize=False), PurchaseMLP((4,)), TexasMLP((4,))])
def test_features_taken_as_they_are_reach_the_first_layer_unchanged(model: Model) -> None:
    members = Examples(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 1, 0]), ("a", "b"))
    net = model.build(members, torch_generator(0))
    assert torch.equal(net.get_submodule("normalize")(members.x), members.x)
    first = net.get_submodule("hidden1.0")
    assert isinstance(first, nn.Linear)
    standardized = MLP((4,)).build(members, torch_generator(0)).get_submodule("normalize")(members.x)
    torch.testing.assert_close(standardized.mean(0), torch.zeros(2))
    torch.testing.assert_close(standardized.std(0, correction=0), torch.ones(2))


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


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        (ResNet18(), 11.17),
        (ResNet20(), 0.273),
        (ResNet56(), 0.856),
        (WRN16x4(), 2.75),
        (WRN28x2(), 1.47),
        (VGG11(), 9.76),
        (VGG16(), 15.25),
        (ViTTiny(), 5.36),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_named_networks_are_as_large_as_published(model: Model, millions: float) -> None:
    with torch.device("meta"):
        net = model.network((3, 32, 32), 10)
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ("model", "n"), [(PurchaseMLP(), 1_317_348), (TexasMLP(), 15_436_260)], ids=["purchase", "texas"]
)
def test_networks_for_features_are_as_wide_as_published(model: Model, n: int) -> None:
    with torch.device("meta"):
        net = model.network((600 if model.name == "purchase_mlp" else 6169,), 100)
    assert sum(parameter.numel() for parameter in net.parameters()) == n
    assert sum(isinstance(layer, nn.Tanh) for layer in net.modules()) == len(model.widths)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("size", "pixels"), [(32, 1), (8, 1), (1, 1), (64, 2)])
def test_vgg_halves_what_can_be_halved(size: int, pixels: int) -> None:
    net = VGG11((4,) * 5, hidden=4).build(images(size=size), torch_generator(0)).eval()
    x = net.normalize(torch.rand(2, 3, size, size))
    for i in range(1, 6):
        x = net.get_submodule(f"stage{i}")(x)
    assert x.shape == (2, 4, pixels, pixels)


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
        ({"name": "wide_resnet", "depth": 18}, "depth is 18; it must be 6 n . 4, such as 16"),
        ({"name": "wide_resnet", "depth": 4}, "such as 10"),
        ({"name": "wrn16_4", "factor": 0}, "factor"),
        ({"name": "vgg11_bn", "convolutions": [1]}, "5 widths and 1 convolutions"),
        ({"name": "vgg16_bn", "dropout": 1.0}, "dropout is 1.0"),
        ({"name": "vgg16_bn", "widths": [8, 12], "convolutions": [1, 1], "norm": "group"}, "multiples of 8"),
        ({"name": "purchase_mlp", "widths": []}, "widths"),
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


@pytest.mark.parametrize("model", [ResNet(), ViT(), WideResNet(), VGG11()], ids=str)
def test_image_models_refuse_features(model: Model) -> None:
    features = Examples(torch.randn(4, 5), torch.tensor([0, 1, 0, 1]), ("a", "b"))
    with pytest.raises(ModelError, match=r"takes images .* have shape \(5,\)\. Try 'mlp'"):
        model.build(features, torch_generator(0))


def test_patches_must_fill_the_image() -> None:
    with pytest.raises(ModelError, match="patch 3 does not divide images of 8x8"):
        ViT(patch=3).build(images(), torch_generator(0))


def test_input_statistics_do_not_depend_on_what_the_memory_held() -> None:
    """A network that was just built holds uninitialized memory."""
    x = torch.rand(50, 3, 4, 4, generator=torch_generator(0))
    clean, dirty = Normalization(3), Normalization(3)
    for buffer in dirty.buffers():
        buffer.fill_(float("nan"))
    clean.fit(x)
    dirty.fit(x)
    assert torch.equal(clean.mean, dirty.mean)
    assert torch.equal(clean.std, dirty.std)
    torch.testing.assert_close(clean.std, x.transpose(0, 1).flatten(1).std(1, correction=0))
