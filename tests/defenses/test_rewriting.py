"""Defenses that rewrite answers: same query, same answer; the label stays; what is promised happens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.defenses import HAMP, HAMPOutput, HAMPTraining
from membrane.defenses.hamp import RandomAnswers, soft_label
from membrane.models import MLP, check_steady, logits_of
from membrane.training import Defense, Recipe, fit
from tests.defenses.questions import MEMBERS, TEST, finished, training
from tests.training.jobs import weight_bits

X = as_inputs(TEST.x[:40])


def answers(model: nn.Module, x: Tensor = X) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(x)
    return found


def network() -> nn.Module:
    return training(Defense()).model


def test_soft_labels_have_the_entropy_asked_for() -> None:
    for n_classes in (2, 3, 10, 100):
        for gamma in (0.1, 0.5, 0.8, 0.95):
            p = soft_label(gamma, n_classes)

            def entropy(p: float, n: int = n_classes) -> float:
                soft = torch.tensor([p] + [(1 - p) / (n - 1)] * (n - 1), dtype=torch.float64)
                return float(torch.special.entr(soft).sum() / torch.log(torch.tensor(n)))

            assert entropy(p) >= gamma > entropy(p + 0.01) - 1e-9
            assert p > 1 / n_classes


def test_hamp_output_keeps_the_order_and_gives_the_values_of_a_random_input() -> None:
    done = finished(HAMPOutput())
    assert isinstance(done.model, RandomAnswers)
    before, after = answers(network()), answers(done.model)
    assert torch.equal(before.argsort(1), after.argsort(1))
    draws = [torch.randint(255, (1, 4, 4), generator=generator) for generator in done.model.generators(X)]
    values = answers(network(), torch.stack(draws).float() / 255)
    torch.testing.assert_close(after.sort(1).values, values.sort(1).values)
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == 40


def test_the_same_query_gets_the_same_answer_whatever_its_company() -> None:
    model = finished(HAMPOutput()).model
    check_steady(model, TEST)
    torch.testing.assert_close(answers(model)[7:9], answers(model, X[7:9]))
    assert torch.equal(answers(model), answers(model))


def test_another_key_draws_other_inputs_and_is_kept_with_the_weights() -> None:
    one, same, other = (HAMPOutput().finish(training(Defense()), torch_generator(seed)).model for seed in (1, 1, 2))
    assert torch.equal(answers(one), answers(same))
    assert not torch.allclose(answers(one).sort(1).values, answers(other).sort(1).values)
    assert weight_bits(one) != weight_bits(other)
    assert "key" in one.state_dict()


def test_hamp_draws_bits_for_bits_and_refuses_other_features() -> None:
    bits = Examples((torch.rand(30, 6, generator=torch_generator(0)) > 0.5).float(), torch.arange(30) % 2, ("a", "b"))
    done = fit(Recipe(MLP((4,)), epochs=1, batch_size=10), bits, None, 0)
    model = HAMPOutput().finish(done, torch_generator(0)).model
    assert torch.equal(logits_of(model, bits).argmax(1), logits_of(done.model, bits).argmax(1))
    other = Examples(bits.x + 0.5, bits.y, bits.classes)
    with pytest.raises(SettingError, match="these features are neither"):
        HAMPOutput().finish(fit(Recipe(MLP((4,)), epochs=1, batch_size=10), other, None, 0), torch_generator(0))


def test_hamp_shares_the_training_of_its_training_part() -> None:
    assert HAMP(0.9, 0.1).trained_as() == HAMPTraining(0.9, 0.1)
    sure, unsure = (
        torch.softmax(logits_of(training(one).model, MEMBERS), 1).amax(1).mean()
        for one in (Defense(), HAMPTraining(0.9, 0.1))
    )
    assert unsure < sure - 0.2
