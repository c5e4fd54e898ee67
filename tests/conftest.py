"""What every test folder shares: the data fixture, how marks are kept, hypothesis without a clock."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path

# Nets of a test are so small that a second thread costs more than it gives, most of all on a busy machine. Set
# before torch is imported, so that processes started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from membrane.core.device import CPU, working_on

PROJECT = Path(__file__).resolve().parents[1]

# A time limit per example fails on a busy machine and says nothing about the code.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, naming what is missing.

    ``@pytest.mark.extras("timm", "torchvision")`` names the modules that a test needs.
    """
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch sees none")
    for mark in item.iter_markers("extras"):
        for module in mark.args:
            pytest.importorskip(
                module, reason=f"needs the optional package {module!r}; see the extras in pyproject.toml"
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Engines take a GPU where there is one; tests say what comes out on the CPU, but for those of the GPU."""
    with nullcontext() if item.get_closest_marker("gpu") else working_on(CPU):
        return (yield)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets beside the project: ``cifar10.parquet`` and others."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is not there")
    return folder
