"""What every test folder shares: the data fixture, how marks are kept, hypothesis without a clock."""

from __future__ import annotations

import os
from pathlib import Path

# Nets of a test are so small that a second thread costs more than it gives, most of all on a busy machine. Set
# before torch is imported, so that processes started by tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets beside the project: ``cifar10.parquet`` and others."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} is not there")
    return folder
