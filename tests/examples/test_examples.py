"""The examples are run as a user would, only shorter."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.data import TensorDataset

import membrane
from tests.small import task

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def own_loop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("own_loop", FOLDER / "own_loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_loop", module)
    spec.loader.exec_module(module)
    return module


def test_three_added_lines_give_a_model_that_leaks_less(own_loop: ModuleType) -> None:
    source = (FOLDER / "own_loop.py").read_text()
    assert source.count("# added: ") == 3
    members, holdout, test = (
        TensorDataset(part.x.float() / 255, part.y) for part in (task().members(0), task().holdout, task().test)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, protected = own_loop.train(members, holdout, epochs=12)
    assert type(protected.model) is type(model)
    assert protected.choice is not None
    assert protected.choice.applied
    before, after = (
        membrane.audit_model(one, members, test).results["entries"][0]["slices"]["population"]["attacks"]["loss"]["auc"]
        for one in (model, protected.model)
    )
    assert after["value"] < before["value"]


@pytest.mark.slow
def test_the_same_loop_is_audited_adaptively(own_loop: ModuleType, tmp_path: Path) -> None:
    """Two pairs of models, each locating and choosing for itself."""
    from membrane.data import Examples

    def train(members: Examples, holdout: Examples, generator: torch.Generator) -> torch.nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            sets = [TensorDataset(part.x.float() / 255, part.y) for part in (members, holdout)]
            protected: membrane.Protected = own_loop.train(*sets, epochs=4)[1]
        return protected.model

    found = membrane.audit(train, task(), out=tmp_path)
    assert found.results["entries"][0]["slices"]["canaries"]["attacks"]["midpoint"]["auc"]["value"] >= 0.4
    assert (tmp_path / "results.json").is_file()
