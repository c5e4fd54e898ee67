"""Every rewriting of answers on top of every other defense: both act, neither hides the other."""

from __future__ import annotations

import pytest
import torch
from _pytest.mark.structures import ParameterSet

from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.defenses import (
    HAMP,
    Defense,
    EarlyStopping,
    HAMPOutput,
    HAMPTraining,
    MemGuard,
    Purifier,
    RelaxLoss,
    Rounding,
    Stacked,
    Temperature,
    TopK,
)
from membrane.defenses.rewriting import Rewriting, network_of
from membrane.models import logits_of
from membrane.training import fit
from tests.defenses.questions import MEMBERS, TEST, finished, recipe_with, released, training
from tests.defenses.rows import DEFENSE_ROWS, Row
from tests.training.jobs import small_recipe, weight_bits

ANSWERS = {
    "temperature": Temperature(3.0),
    "top_k": TopK(1),
    "rounding": Rounding(2),
    "hamp_output": HAMPOutput(),
    "memguard": MemGuard(epochs=2),
    "purifier": Purifier(epochs=2),
}
BASES = [row for row in DEFENSE_ROWS if row.asked and row.name != "stacked"]
SOME = TEST[:12]


def pairs() -> list[ParameterSet]:
    """All pairs; by default every rewriting on a few bases."""
    quick = {(i, name) for place, name in enumerate(ANSWERS) for i in range(place, len(BASES), 2 * len(ANSWERS))}
    return [
        pytest.param(row, answers, id=f"{row}-{name}", marks=() if (i, name) in quick else pytest.mark.slow)
        for i, row in enumerate(BASES)
        for name, answers in ANSWERS.items()
    ]


@pytest.mark.parametrize(("row", "answers"), pairs())
def test_any_rewriting_on_any_defense(row: Row, answers: Defense) -> None:
    base = row.make(row.strong or {})
    if base.trained_as().trains_on_holdout and "holdout" in answers.extra_data:
        pytest.skip("refused: the holdout is no longer one of non-members")
    both = Stacked(base, answers)
    assert both.trained_as() == base.trained_as(), "one training serves all that is stacked on it"
    model = released(both)
    assert isinstance(model, Rewriting)
    assert weight_bits(network_of(model)) == weight_bits(network_of(released(base)))
    plain, rewritten = (logits_of(one, SOME) for one in (released(base), model))
    assert torch.isfinite(rewritten).all()
    sure = torch.softmax(plain, 1).topk(2, 1).values
    clear = sure[:, 0] - sure[:, 1] > 0.02  # rounding may make a tie of closer ones
    if not isinstance(answers, Purifier):  # which swaps the labels of members, and here has hardly learnt the others
        assert torch.equal(plain.argmax(1)[clear], rewritten.argmax(1)[clear]), "labels stay"
    if not isinstance(answers, MemGuard):  # which may leave an answer as it is
        assert not torch.allclose(torch.softmax(plain, 1), torch.softmax(rewritten, 1), atol=1e-4)


def test_the_same_answers_as_by_hand() -> None:
    both = Stacked(RelaxLoss(0.7), Temperature(3.0))
    torch.testing.assert_close(logits_of(released(both), SOME), logits_of(released(RelaxLoss(0.7)), SOME) / 3)
    twice = Stacked(Stacked(Defense(), Temperature(2.0)), Temperature(3.0))
    torch.testing.assert_close(logits_of(released(twice), SOME), logits_of(released(Defense()), SOME) / 6)


def test_hamp_whole_is_its_training_under_its_answers() -> None:
    parts = Stacked(HAMPTraining(0.9, 0.1), HAMPOutput())
    assert parts.trained_as() == HAMP(0.9, 0.1).trained_as()
    torch.testing.assert_close(logits_of(released(parts), SOME), logits_of(released(HAMP(0.9, 0.1)), SOME))


def test_mistakes_and_facts_of_both_are_told() -> None:
    both = Stacked(EarlyStopping(99), MemGuard())
    assert len(both.mistakes(recipe_with(both), 60, 0)) == 2
    features = Examples(torch.rand(60, 5, generator=torch_generator(0)), MEMBERS.y, MEMBERS.classes)
    found = Stacked(RelaxLoss(), HAMPOutput()).data_mistakes(small_recipe(), features, None)
    assert len(found) == 1
    facts = finished(Stacked(EarlyStopping(3), MemGuard(epochs=2))).facts
    assert facts["epoch"] == 3
    assert "classifier_accuracy" in facts


def test_shares_the_training_of_its_base() -> None:
    assert training(Stacked(RelaxLoss(0.7), Rounding())).recipe.epochs == training(RelaxLoss(0.7)).recipe.epochs
    plan = recipe_with(Stacked(RelaxLoss(0.7), Rounding()))
    assert plan.training_settings() == recipe_with(RelaxLoss(0.7)).training_settings()
    assert weight_bits(fit(plan, MEMBERS, None, 0).model) == weight_bits(training(RelaxLoss(0.7)).model)
