from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import membrane
from membrane.core import MembraneError, Store
from membrane.data import Examples, Splits
from membrane.defenses import EarlyStopping
from membrane.models import MLP
from membrane.pptp import PPTP
from membrane.training import Recipe
from membrane.training.engines import Processes
from membrane.training.threads import threads
from tests.small import task, trained

QUICK = Recipe(model=MLP(widths=(64, 32)), epochs=6, batch_size=50, lr=0.05, keep=None)


def own_train(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
    """A user's function that memorizes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x = members.x.float() / 255
    for _ in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), members.y).backward()
        optimizer.step()
    return model


def test_an_own_function_is_audited_and_its_canaries_are_found(tmp_path: Path) -> None:
    found = membrane.audit(own_train, task(), out=tmp_path)
    entry = found.results["entries"][0]
    assert entry["label"] == "own_train"
    assert entry["slices"]["canaries"]["attacks"]["midpoint"]["auc"]["value"] > 0.9
    assert found.verdict
    assert found.tier[0].startswith("Tier of this audit: few references (")
    assert entry["epsilon"]["n_correct"] <= entry["epsilon"]["n_guesses"]
    assert entry["risk"]["by_all"]["value"] <= entry["risk"]["by_any"]["value"]
    assert {one["name"] for one in entry["groups"]["compared"]} <= {f"class {i}" for i in range(10)}
    page = found.to_html(tmp_path / "report.html")
    assert page.stat().st_size > 10_000
    assert membrane.Audit.load(tmp_path).results == json.loads((tmp_path / "results.json").read_text())


def test_the_same_seed_gives_the_same_results_file(tmp_path: Path) -> None:
    trains = {"undefended": QUICK, "early": QUICK.with_defense(EarlyStopping(2))}
    for folder in ("a", "b"):
        membrane.audit(trains, task(), out=tmp_path / folder, seed=3)
    assert (tmp_path / "a/results.json").read_bytes() == (tmp_path / "b/results.json").read_bytes()
    assert (tmp_path / "a/scores.safetensors").read_bytes() == (tmp_path / "b/scores.safetensors").read_bytes()


@pytest.mark.slow
def test_processes_give_the_same_results_file(tmp_path: Path) -> None:
    trains = {"recipe": QUICK, "own": own_train}
    here, there = (Path(tmp_path / name) for name in ("here", "there"))
    with threads(1):
        membrane.audit(trains, task(), out=here, seed=3)
    membrane.audit(trains, task(), out=there, seed=3, engine=Processes(threads=1), workers=2)
    assert (here / "results.json").read_bytes() == (there / "results.json").read_bytes()
    assert (here / "scores.safetensors").read_bytes() == (there / "scores.safetensors").read_bytes()


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["in_process", "processes"])
def test_an_audit_takes_the_gpu_that_is_there(tmp_path: Path, engine: str) -> None:
    """Twice from the same seed: by the same keys, with signals that are near."""
    trains = {"undefended": QUICK, "early": QUICK.with_defense(EarlyStopping(2))}
    for folder in ("a", "b"):
        found = membrane.audit(trains, task(), out=tmp_path / folder, seed=3, engine=engine)
        assert found.results["versions"]["device"].startswith("cuda, ")
    stores = [Store(tmp_path / folder / "store") for folder in ("a", "b")]
    keys, again = (sorted(store.keys("release")) for store in stores)
    assert keys == again
    for key in keys:
        one, other = (store.load("release", key).tensors for store in stores)
        for kind, values in one.items():
            if kind.endswith("rescaled_logit"):
                assert (values - other[kind]).abs().median() < 0.1


@pytest.mark.gpu
def test_an_informed_audit_of_pptp_runs_on_the_gpu() -> None:
    trains = {"undefended": QUICK, "PPTP": QUICK.with_defense(PPTP(max_accuracy_drop=0.05, max_candidates=4))}
    found = membrane.audit(trains, task(), attacks=["loss", "gradient_norm"])
    assert found.results["versions"]["device"].startswith("cuda, ")
    assert found.results["entries"][1]["choices_known"] >= 1


def test_a_function_that_cannot_be_sent_is_refused_before_any_training(tmp_path: Path) -> None:
    trains = {"recipe": QUICK, "own": lambda members, holdout, generator: own_train(members, holdout, generator)}
    with pytest.raises(MembraneError, match="cannot be sent to another process"):
        membrane.audit(trains, task(), out=tmp_path, engine="processes")
    assert not list(tmp_path.iterdir())


def test_a_second_call_trains_nothing(tmp_path: Path) -> None:
    membrane.audit(QUICK, task(), out=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    membrane.audit(QUICK, task(), out=tmp_path)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}


def digits(n: int) -> Examples:
    return task().pool[:n]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"references": 5}, "even"),
        ({"references": 2}, "4 or more"),
        ({"attacks": ["lirra"]}, "Did you mean 'lira'"),
        ({"attacks": ["lira"], "references": 4}, "IN references"),
        ({"attacks": ["loss", "loss"]}, "once"),
        ({"attacks": []}, "at least one"),
        ({"pool": 100_000}, "need"),
        ({"canaries": 5_000}, "canaries"),
        ({"holdout": 1}, "overlap|share"),
    ],
)
def test_wrong_settings_are_refused_before_any_training(settings: dict[str, object], words: str) -> None:
    def never(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module:
        raise AssertionError("training started")

    half = digits(400)
    data = Splits(half, half[:100]) if settings.get("holdout") else Splits(half[:300], half[300:])
    with pytest.raises(MembraneError, match=words):
        membrane.audit(never, data, **{"references": 8, **settings})  # type: ignore[arg-type]


def test_all_trainings_mistakes_come_at_once(tmp_path: Path) -> None:
    trains = {
        "early": QUICK.with_defense(EarlyStopping(99)),
        "pptp": QUICK.with_defense(membrane.PPTP()),
    }
    with pytest.raises(MembraneError, match=r"(?s)3 mistakes.*early.*pptp"):
        membrane.audit(trains, Splits(digits(300), digits(1000)[300:600]), references=4, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("returned", [None, nn.Linear(3, 3), nn.Sequential(nn.Flatten(), nn.Linear(64, 4))])
def test_a_function_that_returns_no_fitting_model_is_refused(returned: nn.Module | None, tmp_path: Path) -> None:
    def train(members: Examples, holdout: Examples, generator: torch.Generator) -> nn.Module | None:
        return returned

    with pytest.raises(MembraneError):
        membrane.audit(train, task(), out=tmp_path)  # type: ignore[arg-type]
    assert not (tmp_path / "results.json").exists()


def test_one_finished_model_gives_a_first_look() -> None:
    members, others = task().members(0), task().test
    found = membrane.audit_model(trained().model, members, others)
    area = found.results["entries"][0]["slices"]["population"]["attacks"]["loss"]["auc"]
    assert area["value"] > 0.55
    assert any("reference" in limit for limit in found.results["limits"])
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nothing = membrane.audit_model(untrained, task().pool[500:700], others)
    assert abs(nothing.results["entries"][0]["slices"]["population"]["attacks"]["loss"]["auc"]["value"] - 0.5) < 0.12


def test_members_and_non_members_must_agree() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    wrong = membrane.from_arrays(np.zeros((20, 64), np.float32), np.arange(20) % 10)
    with pytest.raises(MembraneError, match="must agree"):
        membrane.audit_model(model, task().pool, wrong)
