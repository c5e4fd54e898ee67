"""The questions that every defense answers; each raises if the answer is wrong."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from membrane.core.catalogue import Catalogue
from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.core.settings import fingerprint, to_plain
from membrane.data.loader import Batch, as_inputs
from membrane.defenses.rewriting import Rewriting
from membrane.models import logits_of
from membrane.regions import copy_state, load_state, recalibrate
from membrane.training import Defense, Finished, Recipe, Start, Trained, fit
from membrane.training.defense import Stage
from tests.defenses.rows import EPOCHS, Row
from tests.training.jobs import examples, recipe, weight_bits

MEMBERS, HOLDOUT, TEST = examples(60), examples(20, seed=1), examples(200, seed=2)


def recipe_with(defense: Defense) -> Recipe:
    """Enough epochs for a small network to learn its members by heart."""
    return recipe(epochs=EPOCHS, batch_size=8, lr=0.05, defense=defense)


@functools.cache
def training(defense: Defense) -> Trained:
    return fit(recipe_with(defense), MEMBERS, HOLDOUT, 0)


def finished(defense: Defense) -> Finished:
    return defense.finish(training(defense), torch_generator(1))


def released(defense: Defense) -> nn.Module:
    return defense.release(finished(defense).model)


def members_loss(model: nn.Module) -> float:
    return nn.functional.cross_entropy(logits_of(model, MEMBERS), MEMBERS.y).item()


def is_the_baseline_at_strength_zero(row: Row, catalogue: Catalogue[Defense]) -> None:
    assert row.nothing is not None
    undefended = training(Defense()).model
    model = finished(row.make(row.nothing, catalogue)).model
    if row.exact:
        assert weight_bits(model) == weight_bits(undefended)
        answers = logits_of(released(row.make(row.nothing, catalogue)), TEST), logits_of(undefended, TEST)
        torch.testing.assert_close(*(torch.softmax(one, 1) for one in answers))
        return
    expected = recipe().model.build(MEMBERS, torch_generator(0)).eval()
    load_state(expected, copy_state(undefended))
    recalibrate(expected, MEMBERS.x)
    for key, value in copy_state(model).items():
        torch.testing.assert_close(value, copy_state(expected)[key], rtol=0, atol=1e-4)


def raises_the_members_loss(row: Row, catalogue: Catalogue[Defense]) -> None:
    """What a membership defense is there for."""
    assert row.strong is not None
    off = Defense() if row.nothing is None else row.make(row.nothing, catalogue)
    before, after = (members_loss(released(one)) for one in (off, row.make(row.strong, catalogue)))
    assert before < 0.25, "the baseline has not learnt its members; there is nothing to see"
    assert after > before + 0.1, f"members' loss {before:.3f} -> {after:.3f}"


def says_whether_it_trains(row: Row, catalogue: Catalogue[Defense]) -> None:
    """Defenses that only act afterwards share the undefended training; others never do."""
    defense = row.make(row.strong or {}, catalogue)
    shared = recipe_with(defense).training_settings() == recipe_with(Defense()).training_settings()
    assert shared is not row.trains
    assert (weight_bits(training(defense).model) == weight_bits(training(Defense()).model)) is shared


def leaves_the_training_alone(row: Row, catalogue: Catalogue[Defense]) -> None:
    """``finish`` gets what other defenses get, too: the model, its trail and the data stay as they are."""
    defense = row.make(row.strong or {}, catalogue)
    done = training(defense)
    before = weight_bits(done.model), {key: value.clone() for key, value in done.trail.tensors().items()}
    rng = torch.get_rng_state()
    first, again = finished(defense), finished(defense)
    defense.release(first.model)
    assert weight_bits(first.model) == weight_bits(again.model), "the same generator, the same model"
    assert weight_bits(done.model) == before[0]
    assert all(torch.equal(value, before[1][key]) for key, value in done.trail.tensors().items())
    assert torch.equal(torch.get_rng_state(), rng)


def releases_a_whole_model(row: Row, catalogue: Catalogue[Defense]) -> None:
    defense = row.make(row.strong or {}, catalogue)
    done = finished(defense)
    model = defense.release(done.model)
    logits: Tensor = logits_of(model, TEST)
    assert logits.shape == (200, 3)
    assert not any(module.training for module in model.modules())
    assert (logits.argmax(1) == TEST.y).float().mean() > 0.45, "chance is a third"
    json.dumps(to_plain(dict(done.facts)), allow_nan=False)


def slope_is_that_of_the_loss(row: Row, catalogue: Catalogue[Defense]) -> None:
    """Gradients of what training minimizes, in the first epoch and the second, against differences."""
    defense = row.make(row.strong or {}, catalogue).trained_as()
    plan = defense.adapt(recipe_with(defense))
    model = plan.model.build(MEMBERS, torch_generator(0))
    ready = defense.prepared(Start(model, MEMBERS, HOLDOUT, plan, 0, torch.device("cpu")))
    batch = ready.batch(Batch(as_inputs(MEMBERS.x[:6]), MEMBERS.y[:6], torch.arange(6)), 1, torch_generator(1))
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch_generator(2), requires_grad=True)
    for epoch in (0, 1):
        assert torch.autograd.gradcheck(lambda one, epoch=epoch: ready.loss(one, batch, epoch), z)


def declares_itself(row: Row, catalogue: Catalogue[Defense]) -> None:
    defense = row.make(row.strong or {}, catalogue)
    fields = {field.name for field in dataclasses.fields(defense)}
    assert defense.strength is None or defense.strength in fields
    assert defense.source
    assert defense.acts_on in get_args(Stage)
    assert (defense.acts_on == "release") is not row.trains or defense == Defense()
    assert defense.extra_data
    assert defense.does_not_stop
    assert defense.about()["cost"], "measure it: python benchmarks/defense_cost.py"
    assert row.name == "undefended" or defense.does_not_stop != Defense.does_not_stop, "a fact of its own"
    if row.asked and row.strong is not None:
        assert isinstance(released(defense), Rewriting) is defense.rewrites_answers
    assert not defense.trains_on_holdout or "holdout" in defense.extra_data
    assert catalogue.make(to_plain(defense)) == defense
    off = Defense() if row.nothing is None else row.make(row.nothing, catalogue)
    assert fingerprint(defense) != fingerprint(off) or row.strong is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        defense.anything = 1  # type: ignore[attr-defined]


def refuses_nonsense(row: Row, catalogue: Catalogue[Defense]) -> None:
    for settings in (*row.nonsense, {"no_such_setting": 1}):
        with pytest.raises(SettingError, match=row.name):
            row.make(settings, catalogue)
