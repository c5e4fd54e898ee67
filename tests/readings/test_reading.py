"""Readings against slow formulas on real networks, through stores, and in audits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from membrane.core import Store
from membrane.core.errors import ModelError, NotEnoughDataError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.defenses import Rounding
from membrane.models import MLP, Answers, ResNet, ViT
from membrane.readings import READINGS, Gradients, Reading, distinct, inside, most_open, opens
from membrane.regions import partition
from membrane.training import train_fleet
from membrane.training.fleet import finished_rows
from membrane.verbs import audit, audit_model
from tests.training import jobs
from tests.training.jobs import N_MODELS, bank_bits, small_recipe


def images(n: int = 7) -> Examples:
    generator = torch_generator(0, "images")
    x = torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Examples(x, torch.randint(0, 4, (n,), generator=generator), tuple("abcd"))


def network(settings: ResNet | MLP | ViT, examples: Examples) -> nn.Module:
    return settings.build(examples, torch_generator(0, "weights"))


def slow_gradients(model: nn.Module, examples: Examples) -> npt.NDArray[np.float64]:
    """One example at a time by backward, in float64."""
    model = model.eval().double()
    regions = partition(model.float(), as_inputs(examples.x[:2])).regions
    model.double()
    rows = []
    for i in range(len(examples)):
        x = as_inputs(examples.x[i : i + 1]).double().requires_grad_()
        model.zero_grad()
        F.cross_entropy(model(x), examples.y[i : i + 1]).backward()
        by_name = dict(model.named_parameters())
        parts = [x.grad, *(torch.cat([by_name[k].grad.flatten() for k in r.keys if k in by_name]) for r in regions)]
        rows.append([float(part.norm()) for part in parts if part is not None])
    return np.array(rows)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("settings", [ResNet(), ViT(patch=4)], ids=["resnet", "vit"])
def test_gradients_are_those_of_single_examples(settings: ResNet | ViT) -> None:
    examples = images()
    model = network(settings, examples)
    of_pool, of_none = Gradients()(model, examples, None, torch_generator(0))
    assert of_none.shape == (0, of_pool.shape[1])
    np.testing.assert_allclose(of_pool, slow_gradients(model, examples), rtol=2e-4)


def test_a_model_is_left_in_its_own_mode_with_no_gradients() -> None:
    examples = images()
    model = network(ResNet(), examples).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Gradients()(model, examples, examples, torch_generator(0))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_whoever_holds_the_weights_reads_the_network_inside_a_rewriting() -> None:
    examples = images()
    bare = network(ResNet(), examples)
    released = Rounding(1).release(bare)
    assert inside(released) is bare
    np.testing.assert_array_equal(
        *(Gradients()(one, examples, None, torch_generator(0))[0] for one in (bare, released))
    )


def test_a_model_without_weights_is_refused() -> None:
    asked = Answers(lambda x: torch.zeros(len(x), 4), "logits")
    with pytest.raises(ModelError, match="no weights"):
        Gradients()(asked, images(), None, torch_generator(0))


@dataclasses.dataclass(frozen=True)
class Odd(Reading):
    name: ClassVar[str] = "odd"
    threat_model: ClassVar[str] = "scores"  # type: ignore[assignment]
    n: int = 0
    bad: bool = False

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        return np.full((self.n or len(examples), 2), np.nan if self.bad else 1.0)


@pytest.mark.parametrize(("settings", "complaint"), [({"n": 3}, r"gave \(3, 2\) for 7"), ({"bad": True}, "NaN")])
def test_what_does_not_fit_the_examples_is_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        Odd(**settings)(nn.Linear(1, 1), images(), None, torch_generator(0))  # type: ignore[arg-type]


def test_keys_tell_settings_apart() -> None:
    assert Odd().key != Odd(n=3).key
    assert [one.key for one in distinct([Odd(), Odd(n=3), Odd()])] == [Odd().key, Odd(n=3).key]
    assert all(READINGS.make(name).key.startswith(name) for name in READINGS)


def test_what_opens_what() -> None:
    assert opens("weights", "labels")
    assert opens("scores", "scores")
    assert not opens("labels", "scores")
    assert most_open(["labels", "weights", "scores"]) == "weights"


def test_readings_lie_beside_the_signals_and_are_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, store = jobs.task(), Store(tmp_path)
    plain = train_fleet(small_recipe(), task, store, seed=0)
    assert finished_rows(small_recipe(), task, store, 0, readings=[Gradients()]) == []
    bank = train_fleet(small_recipe(), task, store, seed=0, readings=[Gradients()])
    assert bank_bits(bank) == bank_bits(plain)
    assert bank.pool[Gradients().key].shape[:2] == (N_MODELS, len(task.pool))
    assert bank.test[Gradients().key].shape[:2] == (N_MODELS, len(task.test))
    monkeypatch.setattr(Gradients, "read", None)
    again = train_fleet(small_recipe(), task, store, seed=0, readings=[Gradients()])
    np.testing.assert_array_equal(again.pool[Gradients().key], bank.pool[Gradients().key])


def test_an_audit_takes_the_readings_that_its_attacks_need(tmp_path: Path) -> None:
    task = jobs.task()
    calibrated = {"name": "calibration", "base": {"name": "gradient_norm"}}
    found = audit(small_recipe(epochs=30), task, attacks=["loss", "gradient_norm"], out=tmp_path)
    attacks = found.results["entries"][0]["slices"]["population"]["attacks"]
    auc = {name: one["auc"]["value"] for name, one in attacks.items()}
    assert auc["gradient_norm"] == pytest.approx(auc["loss"], abs=0.1)
    other = audit(small_recipe(epochs=30), task, attacks=["loss", calibrated], out=tmp_path / "other")  # type: ignore[list-item]
    assert "calibration" in other.results["entries"][0]["slices"]["population"]["attacks"]


def test_attacks_on_weights_are_refused_where_only_answers_are_given() -> None:
    examples = images(60)
    model = network(ResNet(), examples)
    found = audit_model(model, examples[:30], examples[30:], attacks=["gradient_norm"])
    assert found.results["entries"][0]["slices"]["population"]["strongest"] == "gradient_norm"
    with pytest.raises(NotEnoughDataError, match="reads weights, and this model answers with scores only"):
        audit_model(Answers(model, "logits"), examples[:30], examples[30:], attacks=["gradient_norm"])
