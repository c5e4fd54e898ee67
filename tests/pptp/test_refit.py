from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from membrane.core import SettingError
from membrane.core.generators import torch_generator
from membrane.defenses.soft_labels import dealt, sharpened
from membrane.models import logits_of
from membrane.pptp import OutOfFoldRefit
from membrane.regions import copy_state
from membrane.training import Defense, Finished, Recipe, Trained, fit
from tests.small import RECIPE, task, trained

SETTINGS = {"first": 1, "last": 3, "folds": 2, "fork_epochs": 4, "epochs": 4, "lr": 0.03}


@functools.cache
def refitted(*forked: str) -> Finished:
    with torch.random.fork_rng():
        return OutOfFoldRefit(forked, **SETTINGS).finish(trained(), torch_generator(3))


def accuracy(model: torch.nn.Module, chosen: torch.Tensor) -> float:
    """Of the labels as trained."""
    part = trained().members[chosen]
    return float((logits_of(model, part).argmax(1) == part.y).double().mean())


def canaries() -> torch.Tensor:
    """Positions of the mislabelled canaries among the members."""
    members = torch.nonzero(torch.from_numpy(task().membership[0]))[:, 0]
    return torch.nonzero(torch.isin(members, torch.from_numpy(task().canaries)))[:, 0]


def test_labels_that_nobody_else_would_guess_are_not_learnt() -> None:
    """A mislabelled member gets the label that models without it give it; the rest stays as it was learnt."""
    wrong = canaries()
    assert len(wrong) > 10
    assert accuracy(trained().model, wrong) > 0.9
    assert accuracy(refitted().model, wrong) < 0.3
    rest = torch.tensor(sorted(set(range(len(trained().members))) - set(wrong.tolist())))
    assert accuracy(refitted().model, rest) > 0.8
    test = task().test
    right = [
        (logits_of(model, test).argmax(1) == test.y).double().mean() for model in (trained().model, refitted().model)
    ]
    assert right[1] > right[0] - 0.05


def test_regions_that_are_not_forked_tell_the_forks_about_every_member() -> None:
    """Why the risky region has to be the forked one."""
    told, untold = (float(refitted(*forked).facts["out_of_fold_accuracy"]) for forked in (("head",), ()))
    assert told > untold + 0.03


def test_the_same_generator_gives_the_same_bits_and_leaves_the_training_alone() -> None:
    one = trained()
    before = copy_state(one.model), {key: value.clone() for key, value in one.trail.tensors().items()}
    rng = torch.get_rng_state()
    again = OutOfFoldRefit((), **SETTINGS).finish(one, torch_generator(3))
    found, expected = copy_state(again.model), copy_state(refitted().model)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert all(torch.equal(copy_state(one.model)[key], value) for key, value in before[0].items())
    assert all(torch.equal(one.trail.tensors()[key], value) for key, value in before[1].items())
    assert torch.equal(torch.get_rng_state(), rng)


@given(st.integers(1, 40), st.integers(2, 7), st.data())
def test_every_member_is_left_out_by_as_many_forks(n: int, folds: int, data: st.DataObject) -> None:
    left_out = data.draw(st.integers(1, folds - 1))
    unseen = dealt(n, folds, left_out, torch_generator(0))
    assert unseen.shape == (n, folds)
    assert (unseen.sum(1) == left_out).all()
    assert int(unseen.sum(0).max() - unseen.sum(0).min()) <= left_out  # forks see about as many


def test_forks_and_released_model_learn_at_their_own_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Recipe] = []

    def watched(recipe: Recipe, *given: Any, **named: Any) -> Trained:  # noqa: ANN401
        seen.append(recipe)
        return fit(recipe, *given, **named)

    monkeypatch.setattr("membrane.pptp.refit.fit", watched)
    monkeypatch.setattr("membrane.defenses.soft_labels.fit", watched)
    one = OutOfFoldRefit((), **SETTINGS, fork_lr=0.01, weight_decay=0.0, temperature=0.5)
    with torch.random.fork_rng():
        one.finish(trained(), torch_generator(3))
    assert [(recipe.lr, recipe.weight_decay) for recipe in seen] == [(0.01, RECIPE.weight_decay)] * 2 + [(0.03, 0.0)]


def test_nothing_is_trained_beyond_the_window_unless_it_is_read() -> None:
    whole, some = OutOfFoldRefit((), **SETTINGS), OutOfFoldRefit(("head",), **SETTINGS)
    assert some.trained_as() == Defense()
    assert whole.trained_as().adapt(RECIPE).n_epochs == 4
    assert whole.trained_as().adapt(replace(RECIPE, epochs=3)).n_epochs == 3
    stopped = fit(RECIPE.with_defense(whole), trained().members, None, 7)
    assert stopped.trail.n_epochs == 4
    with torch.random.fork_rng():
        one, other = (
            copy_state(whole.finish(each, torch_generator(3)).model)
            for each in (stopped, fit(RECIPE, trained().members, None, 7))
        )
    floats = [key for key, value in one.items() if value.is_floating_point()]
    assert all(torch.equal(one[key], other[key]) for key in floats)


def test_sharper_labels_are_powers() -> None:
    table = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    expected = torch.tensor([[25 / 38, 9 / 38, 4 / 38], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(sharpened(table, 0.5), expected)
    assert sharpened(table, 1.0) is table
    torch.testing.assert_close(sharpened(table, 1e6), torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]]))


def test_several_forks_that_did_not_see_a_member_say_what_it_is() -> None:
    with torch.random.fork_rng():
        several = OutOfFoldRefit((), **{**SETTINGS, "folds": 4}, left_out=2).finish(trained(), torch_generator(3))
    assert accuracy(several.model, canaries()) < 0.3


def test_every_mistake_is_said_at_once() -> None:
    with pytest.raises(SettingError, match=r"(?s)5 mistakes.*first.*folds.*fork_epochs.*epochs.*lr"):
        OutOfFoldRefit(first=3, last=2, folds=1, fork_epochs=0, epochs=0, lr=float("nan"))
    with pytest.raises(SettingError, match=r"(?s)3 mistakes.*fork_lr.*weight_decay.*temperature"):
        OutOfFoldRefit(fork_lr=0.0, weight_decay=-1.0, temperature=float("nan"))
    with pytest.raises(SettingError, match="fewer than folds"):
        OutOfFoldRefit(folds=3, left_out=3)
    with pytest.raises(SettingError, match="nowhere"):
        OutOfFoldRefit(("nowhere",), **SETTINGS).finish(trained(), torch_generator(0))


def test_what_would_stop_it_is_known_before_training() -> None:
    found = OutOfFoldRefit(first=2, last=400, folds=40).mistakes(RECIPE, n_members=60, n_holdout=0)
    assert "no window 2 to 400" in found[0]
    assert "too few for 40 folds" in found[1]
    assert OutOfFoldRefit(**SETTINGS).mistakes(RECIPE, 500, 0) == []
