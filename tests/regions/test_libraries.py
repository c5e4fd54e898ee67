"""The partition and the edits on the networks of other libraries: one of each family of timm, all of torchvision."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from membrane.core.generators import torch_generator
from membrane.regions import Partition, copy_state, load_state, mix, partition, recalibrate, swap
from membrane.regions.partition import plain_state

# The smallest of each family (a module of timm), and the side of the smallest images that it takes.
TIMM = {
    "mobileone_s1": 32,
    "cait_xxs24_224": 32,
    "coat_tiny": 32,
    "convit_tiny": 32,
    "convmixer_768_32": 32,
    "convnext_atto": 32,
    "cpubone_nano": 32,
    "crossvit_tiny_240": 240,
    "csatv2": 64,
    "cs3darknet_focus_s": 32,
    "cspnext_tiny": 32,
    "davit_tiny": 32,
    "deit_tiny_patch16_224": 32,
    "densenet121": 32,
    "dla46x_c": 32,
    "dpn48b": 32,
    "edgenext_xx_small": 32,
    "efficientformerv2_s0": 32,
    "efficientnet_lite0": 32,
    "efficientvim_m1": 32,
    "efficientvit_b0": 32,
    "efficientvit_m0": 32,
    "eva02_tiny_patch14_224": 32,
    "fasternet_t0": 32,
    "fastvit_t8": 32,
    "focalnet_tiny_srf": 32,
    "gcvit_xxtiny": 32,
    "ghostnet_050": 32,
    "hardcorenas_b": 32,
    "hgnetv2_b0": 32,
    "hiera_tiny_224": 32,
    "sam2_hiera_tiny": 32,
    "hrnet_w18_small": 32,
    "iformer_t": 32,
    "inception_next_atto": 32,
    "inception_v3": 96,
    "lcnetv2_small": 32,
    "levit_128s": 32,
    "lowformer_b0": 32,
    "mambaout_femto": 32,
    "maxvit_pico_rw_256": 32,
    "poolformer_s12": 32,
    "gmlp_ti16_224": 32,
    "lcnet_035": 32,
    "mobilevit_xxs": 32,
    "mvitv2_tiny": 32,
    "nest_tiny": 32,
    "nextvit_small": 32,
    "nf_regnet_b0": 32,
    "pit_ti_224": 32,
    "pvt_v2_b0": 32,
    "rdnet_tiny": 32,
    "regnetx_002": 32,
    "repghostnet_050": 32,
    "repvit_m1": 32,
    "res2next50": 32,
    "resnest14d": 32,
    "resnet10t": 32,
    "resnetv2_18": 32,
    "rexnet_100": 32,
    "selecsls42": 32,
    "legacy_seresnet18": 32,
    "sequencer2d_s": 32,
    "shvit_s1": 32,
    "skresnet18": 32,
    "starnet_s050": 32,
    "swiftformer_xs": 32,
    "swin_tiny_patch4_window7_224": 32,
    "swinv2_tiny_window16_256": 32,
    "swinv2_cr_tiny_224": 32,
    "tiny_vit_5m_224": 32,
    "tnt_s_legacy_patch16_224": 32,
    "tresnet_m": 32,
    "twins_svt_small": 32,
    "visformer_tiny": 32,
    "vit_tiny_patch16_224": 32,
    "vit_tiny_r_s16_p8_224": 32,
    "vit_relpos_small_patch16_224": 32,
    "vitamin_small_224": 32,
    "volo_d1_224": 32,
    "ese_vovnet19b_slim_dw": 32,
    "legacy_xception": 32,
    "xception41p": 32,
    "xcit_nano_12_p8_224": 32,
}
TORCHVISION_SIZES = {"alexnet": 63, "inception_v3": 75, "maxvit_t": 224, "vit_h_14": 56}  # others take 64
N_TORCHVISION = 80  # of torchvision 0.29
_ASKED: dict[str, list[str]] = {"timm": [], "torchvision": []}


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say at the end what was covered."""
    yield
    manager = request.config.pluginmanager.get_plugin("capturemanager")
    with manager.global_and_fixture_disabled() if manager else nullcontext():
        for library, names in _ASKED.items():
            if names:
                request.config.get_terminal_writer().line(f"\n{library}, {len(names)} asked: {', '.join(names)}")


def torchvision_names() -> list[str]:
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError:  # the test is skipped then, and says so
        return ["resnet18"]
    names: list[str] = models.list_models(module=models)
    return names


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no first weights: with billions of them it takes minutes, and ``filled`` sets them anyway."""
    for name in ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_args, **_settings: tensor)


@pytest.mark.slow
@pytest.mark.extras("torchvision")
@pytest.mark.parametrize("name", torchvision_names())
@pytest.mark.usefixtures("unset")
def test_torchvision(name: str) -> None:
    models = importlib.import_module("torchvision.models")
    size = TORCHVISION_SIZES.get(name, 64)
    settings: dict[str, object] = {"image_size": size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": False}
    ask(models.get_model(name, weights=None, num_classes=10, **settings), size)
    _ASKED["torchvision"].append(name)


@pytest.mark.extras("torchvision")
def test_no_classifier_of_torchvision_is_left_out() -> None:
    assert len(torchvision_names()) >= N_TORCHVISION


@pytest.mark.slow
@pytest.mark.extras("timm")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    timm = importlib.import_module("timm")
    settings = {"pretrained": False, "num_classes": 10}
    with torch.random.fork_rng():
        try:
            model = timm.create_model(name, img_size=TIMM[name], **settings)
        except TypeError:  # takes images of any size, and has no such setting
            model = timm.create_model(name, **settings)
    ask(model, TIMM[name])
    _ASKED["timm"].append(f"{family(name)} ({name})")


@pytest.mark.extras("timm")
def test_families_of_timm_are_many_and_counted_once() -> None:
    families = [family(name) for name in TIMM]
    assert len(families) == len(set(families)) >= 45


def family(name: str) -> str:
    """Module of timm that offers a network."""
    module: str = importlib.import_module("timm.models._registry")._model_to_module[name]
    return module


def filled(model: nn.Module) -> nn.Module:
    """Random weights, small enough for any depth; normalization as it starts."""
    generator = torch_generator(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.uniform_(-0.05, 0.05, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
    return model


def ask(model: nn.Module, size: int) -> None:
    """Each parameter and buffer once, 4 to 12 regions as they run, exact edits, and it still runs after them."""
    filled(model).eval()
    x = torch.rand(3, 3, size, size, generator=torch_generator(0))
    cut = partition(model, x[:1])
    final = copy_state(model)
    assert sorted(key for region in cut.regions for key in region.keys) == sorted(final)
    assert cut.n_parameters == sum(p.numel() for p in model.parameters())
    assert 4 <= len(cut.regions) <= 12
    starts = first_run(model, cut, x[:1])
    assert starts == sorted(starts)

    # A number in every place, none of it stored: the largest networks hold gigabytes.
    other = {key: value.new_full((), 3).expand(value.shape) for key, value in final.items()}
    inside = cut.keys(min(zip(cut.names, cut.names[1:], strict=False), key=cut.share))  # neighbours, to be quick
    floating = {key for key in inside if final[key].is_floating_point()}
    assert equal(mix(final, other, 1.0, inside), final)
    assert equal(mix(final, other, 0.0, inside), {k: (other if k in floating else final)[k] for k in final})
    assert equal(mix(other, final, 0.0, inside), {k: (final if k in floating else other)[k] for k in final})
    there = swap(final, other, inside)
    load_state(model, there[0])
    assert equal(plain_state(model), {k: (other if k in inside else final)[k] for k in final})
    back = swap(*there, inside)
    load_state(model, back[0])
    assert equal(plain_state(model), final)
    assert equal(back[1], other)

    halfway = {key: final[key] * 0.5 if key in floating else final[key] for key in final}
    load_state(model, mix(final, halfway, 0.5, inside))
    recalibrate(model, x, batch_size=3)
    with torch.inference_mode():
        logits = model(x[:2])
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()


def first_run(model: nn.Module, cut: Partition, x: Tensor) -> list[int]:
    """When each region's (first) module, or something inside of it, is called for the first time."""
    called: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: called.append(name))
        for name, module in model.named_modules()
    ]
    with torch.inference_mode():
        model(x)
    for hook in hooks:
        hook.remove()
    return [next(i for i, name in enumerate(called) if f"{name}.".startswith(f"{region}.")) for region in cut.names]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[key] is b[key] or torch.equal(a[key], b[key]) for key in a)
