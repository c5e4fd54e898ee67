"""The partition and the edits on networks of other libraries."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from membrane.core.generators import torch_generator
from membrane.regions import copy_state, load_state, mix, partition, recalibrate, swap

TORCHVISION = [
    "resnet18",
    "vgg11_bn",
    "mobilenet_v3_small",
    "densenet121",
    "shufflenet_v2_x0_5",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
]
TIMM = [
    "resnet26",
    "vit_tiny_patch16_224",
    "mixer_s16_224",
    "regnetx_002",
    "efficientnet_b0",
    "deit_tiny_patch16_224",
    "poolformer_s12",
]


@pytest.mark.extras("torchvision")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    models = importlib.import_module("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ask(models.get_model(name, weights=None, num_classes=10))


@pytest.mark.extras("timm")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    timm = importlib.import_module("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ask(timm.create_model(name, pretrained=False, num_classes=10))


def ask(model: nn.Module) -> None:
    """Each parameter and buffer once, 4 to 12 regions, exact ends, and it still runs after recalibration."""
    model.eval()
    x = torch.rand(4, 3, 224, 224, generator=torch_generator(0))
    cut = partition(model, x[:1])
    keys = [key for region in cut.regions for key in region.keys]
    final = copy_state(model)
    assert sorted(keys) == sorted(final)
    assert 4 <= len(cut.regions) <= 12
    assert cut.n_parameters == sum(p.numel() for p in model.parameters())

    other = {key: value + 1 if value.is_floating_point() else value for key, value in final.items()}
    inside = cut.keys(cut.names[1:3])
    there = swap(final, other, inside)
    back = swap(*there, inside)
    assert all(torch.equal(back[0][key], final[key]) and torch.equal(back[1][key], other[key]) for key in final)
    assert all(torch.equal(value, final[key]) for key, value in mix(final, other, 1.0, inside).items())
    donor = mix(final, other, 0.0, inside)
    assert all(torch.equal(donor[key], (other if key in inside else final)[key]) for key in final)

    halfway = {key: value * 0.5 if value.is_floating_point() else value for key, value in final.items()}
    load_state(model, mix(final, halfway, 0.5, inside))
    recalibrate(model, x, batch_size=4)
    with torch.inference_mode():
        assert model(x[:2]).shape == (2, 10)
