"""Whatever touches a model works where the model is: on a device that is pretended, and on a GPU if there is one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from membrane.core.device import working_on
from membrane.core.generators import torch_generator
from membrane.defenses.rewriting import network_of
from membrane.models import at_work, logits_of
from membrane.models.signals import device_of
from membrane.pptp.catalogue import DEFENSES
from membrane.training import fit
from tests import pretended_runs as runs

NEAR = 1e-5  # sums in another order

CASES = [
    *(pytest.param("defenses", name, id=name) for name in DEFENSES if name != "dp_sgd"),
    pytest.param("defenses", "dp_sgd", id="dp_sgd", marks=pytest.mark.extras("opacus")),
    *(pytest.param("recipes", name, id=name) for name in runs.RECIPES),
    *(pytest.param("readings", name, id=name) for name in runs.KINDS["readings"][0]),
    *(pytest.param("locators", name, id=name, marks=pytest.mark.slow) for name in runs.KINDS["locators"][0]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_nothing_mixes_devices(kind: str, name: str) -> None:
    quick = ("defenses", "recipes", "readings")
    found = runs.apart(*(quick if kind in quick else (kind,)))[name]
    assert isinstance(found, float), found
    assert found <= NEAR


REFUSED = (
    "x + few",
    "torch.cat([x, few[None]])",
    "few[index.to(device)]",
    "x[index] = torch.rand(2, 3)",
    "x.numpy()",
    "torch.nn.functional.linear(x, torch.rand(2, 3))",
    "torch.nn.init.uniform_(x, generator=torch.Generator())",
    "torch.randperm(5, generator=torch.Generator(), device=device)",
)
TAKEN = (
    "x * 2 + torch.tensor(1.0)",
    "x[index]",
    "x[index] = 0.0",
    "x[index] = torch.rand(2, 3).to(device)",
    "few.copy_(x[0])",
    "x.cpu().numpy()",
    "float(x.sum())",
    "torch.zeros(3, device=device) + x",
)
TRIED = """
import sys, torch
from tests.pretend import pretended, registered
registered()
with pretended() as device:
    for line in sys.argv[1:]:
        x, index, few = torch.rand(5, 3).to(device), torch.tensor([0, 1]), torch.rand(3)
        try:
            exec(line)
        except RuntimeError as refusal:
            print(line)
"""


def test_the_pretended_device_refuses_what_a_gpu_refuses_and_nothing_else() -> None:
    command = [sys.executable, "-W", "ignore", "-c", TRIED, *REFUSED, *TAKEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == list(REFUSED)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [case.values[1] for case in CASES if case.values[0] == "defenses"])
def test_what_a_defense_releases_on_cuda_says_the_same_on_the_cpu(name: str) -> None:
    """Of the network as released: a rewriting that draws by the bits of a query may draw otherwise elsewhere."""
    if name == "dp_sgd":
        pytest.importorskip("opacus")
    defense = DEFENSES.make({"name": name, **runs.SETTINGS.get(name, {})})
    members, others = (runs.MANY, runs.OTHERS) if name == "pptp" else (runs.MEMBERS, runs.HOLDOUT)
    with working_on(torch.device("cuda")):
        trained = fit(runs.under(defense), members, others, 0)
        model = defense.release(defense.finish(trained, torch_generator(1)).model)
        with at_work(model):
            assert device_of(model).type == "cuda"
            whole, there = logits_of(model, runs.ASKED), logits_of(network_of(model), runs.ASKED)
    assert device_of(model).type == "cpu"
    assert torch.isfinite(whole).all()
    torch.testing.assert_close(there, logits_of(network_of(model), runs.ASKED), rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["recipes", "readings", "locators"])
def test_cuda_finds_about_what_the_cpu_finds(kind: str) -> None:
    """Within what training and TF32 carry apart; that everything runs is what counts here."""
    names, answers = runs.KINDS[kind]
    for name in names:
        with working_on(torch.device("cuda")):
            there = answers(name)
        assert np.isfinite(there).all()
        if kind != "locators":
            here = answers(name)
            assert here.shape == there.shape
            assert np.quantile(np.abs(here - there), 0.5) <= 0.1 * (1 + np.abs(here).max())
