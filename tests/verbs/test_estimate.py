from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import membrane
from membrane.core.errors import MembraneError
from membrane.data import Digits, Examples, Task, make_task
from membrane.defenses import SELENA, EarlyStopping, RelaxLoss, ShortSchedule
from membrane.models import MLP
from membrane.pptp import DEFENSES
from membrane.training import Recipe, Trained
from membrane.training.check import training_mistakes
from membrane.training.engines import InProcess, Processes
from membrane.verbs.estimate import estimate_task
from tests.training import jobs
from tests.training.jobs import N_MODELS, recipe, small_recipe

verbs_estimate = importlib.import_module("membrane.verbs.estimate")  # the package has a verb of this name


@pytest.fixture(scope="module")
def task() -> Task:
    return jobs.task()


def own(members: Examples, holdout: Examples | None, generator: torch.Generator) -> nn.Module:
    raise AssertionError("an estimate calls no function of the user's")


def test_an_estimate_counts_trainings_and_says_what_they_take(task: Task) -> None:
    plain = small_recipe()
    trains = {"a": plain, "b": plain.with_defense(EarlyStopping(0)), "c": plain.with_defense(ShortSchedule(2))}
    about = membrane.estimate(trains, task)
    assert (about.n_models, about.n_trainings) == (N_MODELS, 2 * N_MODELS)
    assert about.seconds is not None
    assert 0 < about.seconds < 60
    assert about.memory is not None
    assert about.memory > 0
    assert f"{2 * N_MODELS} models to train on cpu: about" in str(about)
    assert about.tight == ()


def test_models_that_are_trained_at_the_same_time_take_less_time_and_more_memory(task: Task) -> None:
    alone = membrane.estimate(small_recipe(), task, engine=InProcess(threads=1))
    together = membrane.estimate(small_recipe(), task, engine=Processes(threads=1), workers=3)
    assert (alone.at_once, together.at_once) == (1, 3)
    assert alone.memory is not None
    assert together.memory is not None
    assert alone.memory < together.memory < 3 * alone.memory
    assert f"{N_MODELS} models to train on cpu, 3 at a time: about" in str(together)


def test_what_trains_as_a_stack_is_timed_as_one(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = verbs_estimate.fit_stack

    def fit_stack(how: Recipe, members: list[Examples], *rest: Any) -> list[Trained]:  # noqa: ANN401
        sizes.append(len(members))
        return real(how, members, *rest)

    monkeypatch.setattr(verbs_estimate, "fit_stack", fit_stack)
    membrane.estimate(small_recipe(), task)
    membrane.estimate(small_recipe(), task, engine=Processes(threads=1, workers=2))
    membrane.estimate(small_recipe(defense=RelaxLoss(0.5)), task)
    assert sizes == [N_MODELS] * 2 + [N_MODELS // 2] * 2


def test_more_epochs_and_a_larger_network_take_more(task: Task) -> None:
    little, much = (
        membrane.estimate(recipe(epochs=epochs, model=jobs.ResNet((width, width), (1, 1))), task)
        for epochs, width in ((2, 4), (200, 64))
    )
    assert little.seconds is not None
    assert much.seconds is not None
    assert much.seconds > 5 * little.seconds
    assert little.memory is not None
    assert much.memory is not None
    assert much.memory > 5 * little.memory
    assert much.disk > 5 * little.disk


def test_the_disk_is_about_what_is_said(task: Task, tmp_path: Path) -> None:
    trains = {"a": recipe(epochs=8, model=jobs.ResNet((16, 32), (1, 1)))}
    about = membrane.estimate(trains, task)
    membrane.audit(trains, task, attacks=["loss"], out=tmp_path)
    used = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert 0.7 * used < about.disk < 1.4 * used


def test_what_is_finished_is_not_counted(task: Task, tmp_path: Path) -> None:
    membrane.audit(small_recipe(), task, attacks=["loss"], out=tmp_path, seed=3)
    about = membrane.estimate(small_recipe(), task, out=tmp_path, seed=3)
    assert (about.n_trainings, about.seconds, str(about)) == (0, 0.0, "all models are finished")
    assert membrane.estimate(small_recipe(), task, out=tmp_path, seed=4).n_trainings == N_MODELS
    more = {"undefended": small_recipe(), "early": small_recipe(defense=EarlyStopping(0))}
    assert membrane.estimate(more, task, out=tmp_path, seed=3).n_trainings == 0


def test_a_function_is_not_tried(task: Task) -> None:
    about = membrane.estimate(own, task)
    assert (about.n_trainings, about.seconds, about.memory) == (N_MODELS, None, None)
    assert "time unknown (only your function knows" in str(about)


def test_a_divergence_leaves_the_time_unknown(task: Task) -> None:
    assert "lr may be too high" in str(membrane.estimate(small_recipe(lr=1e30), task))


def test_a_defense_that_a_few_batches_do_not_do_for_is_estimated_all_the_same(task: Task) -> None:
    selena = small_recipe().with_defense(SELENA(models=10, left_out=4))
    assert not training_mistakes(selena, task)
    about = membrane.estimate(selena, task)
    assert about.seconds is not None
    assert about.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DEFENSES if name not in ("dp_sgd", "rewind_refit")])
def test_every_defense_is_estimated(name: str) -> None:
    made = make_task(Digits(test=297).load(), n_models=4, pool=1000, holdout=500, canaries=0, seed=0)
    train = Recipe(model=MLP((16,)), epochs=12, batch_size=50, lr=0.1).with_defense(DEFENSES.make(name))
    assert membrane.estimate(train, made).n_trainings == 4


def test_too_little_room_is_pointed_at(task: Task) -> None:
    about = dataclasses.replace(estimate_task({"a": small_recipe()}, task), free_memory=1000, free_disk=10)
    assert "TOO LITTLE" in str(about)
    assert len(about.tight) == 2


def test_an_estimate_refuses_what_the_audit_would(task: Task) -> None:
    with pytest.raises(MembraneError, match="references is 5"):
        membrane.estimate(small_recipe(), membrane.Splits(task.pool, task.test), references=5)
    with pytest.raises(MembraneError, match="has no epoch 9"):
        membrane.estimate(small_recipe(defense=EarlyStopping(9)), task)


def test_global_random_streams_are_left_alone(task: Task) -> None:
    before = torch.get_rng_state()
    membrane.estimate(small_recipe(), task)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_begins_with_the_estimate_and_only_rises(task: Task, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    membrane.audit(small_recipe(), task, attacks=["loss"], progress=lambda what, done, _: told.append((what, done)))
    assert told[0][0].startswith(f"{N_MODELS} models to train on cpu: about")
    assert told[0][1] == 0
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[1] > 0
