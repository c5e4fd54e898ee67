from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from membrane.models import laid_out

TRAINS = """
import torch
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import ResNet, laid_out
from membrane.data.loader import as_inputs
torch.set_num_threads(1)
x = torch.randint(0, 256, (64, 3, 64, 64), dtype=torch.uint8)
examples = Examples(x, torch.arange(64) % 4, tuple("abcd"))
model = laid_out(ResNet(widths=(8, 16), blocks=(1, 1)).build(examples, torch_generator(0)))
for _ in range(8):
    model(as_inputs(x)).square().mean().backward()
print("trained")
"""


def is_channels_last(model: nn.Module) -> bool:
    weight = next(p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


@pytest.mark.parametrize(
    ("shortcut", "fast"),
    [
        (nn.Conv2d(16, 32, 1, stride=2), True),
        (nn.Conv2d(8, 16, 1, stride=2), False),
        (nn.Conv2d(32, 32, 1, stride=2, groups=4), False),
        (nn.Conv2d(8, 16, 1), True),
        (nn.Conv2d(8, 16, 3, stride=2), True),
    ],
)
def test_networks_for_images_are_channels_last_where_that_is_safe(shortcut: nn.Module, fast: bool) -> None:
    assert is_channels_last(laid_out(nn.Sequential(nn.Conv2d(3, 8, 3), shortcut))) == fast


@pytest.mark.slow
def test_a_narrow_network_on_large_images_does_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=False)
    assert done.stdout == "trained\n", done.stderr[-500:]
