"""Defenses that rewrite answers: same query, same answer; the label stays; what is promised happens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.defenses import HAMP, HAMPOutput, HAMPTraining, Rounding, Temperature, TopK
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
    with pytest.raises(SettingError, match="These features are neither"):
        HAMPOutput().finish(fit(Recipe(MLP((4,)), epochs=1, batch_size=10), other, None, 0), torch_generator(0))


def test_hamp_shares_the_training_of_its_training_part() -> None:
    assert HAMP(0.9, 0.1).trained_as() == HAMPTraining(0.9, 0.1)
    sure, unsure = (
        torch.softmax(logits_of(training(one).model, MEMBERS), 1).amax(1).mean()
        for one in (Defense(), HAMPTraining(0.9, 0.1))
    )
    assert unsure < sure - 0.2


def table(*rows: list[float]) -> nn.Module:
    """A network that answers input i with the logarithms of row i."""

    class Table(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor(rows).log()[x[:, 0].long()]

    return Table().eval()


def shown(defense: Defense, *rows: list[float]) -> list[list[float]]:
    model = defense.release(table(*rows))
    found: list[list[float]] = torch.softmax(model(torch.arange(len(rows)).float()[:, None]), 1).tolist()
    return found


def test_temperature_by_hand() -> None:
    (p,) = shown(Temperature(2.0), [0.64, 0.32, 0.04])
    total = 0.8 + 0.32**0.5 + 0.2
    assert p == pytest.approx([0.8 / total, 0.32**0.5 / total, 0.2 / total])
    model = table([1.0])
    assert Temperature(1.0).release(model) is model


def test_top_k_by_hand() -> None:
    rows = [0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]
    assert shown(TopK(1), *rows) == [pytest.approx([0.5] + [0.5 / 3] * 3), pytest.approx([0.2, 0.2, 0.2, 0.4])]
    assert shown(TopK(2), *rows) == [pytest.approx([0.5, 0.3, 0.1, 0.1]), pytest.approx([0.15, 0.15, 0.3, 0.4])]
    for k in (3, 4, 100):
        assert shown(TopK(k), *rows) == [pytest.approx(row) for row in rows]
    (tied,) = shown(TopK(1), [0.4, 0.4, 0.1, 0.1])
    assert tied == pytest.approx([0.4, 0.2, 0.2, 0.2]), "the first of equal classes"


def test_top_k_of_the_surest_answers_is_exact() -> None:
    sure = nn.Identity()
    logits = TopK(1).release(sure)(torch.tensor([[100.0, 0.0, -50.0, -50.0]]))
    assert torch.isfinite(logits).all()
    assert logits[0, 1:].tolist() == pytest.approx([-1.0986] * 3, abs=1e-3)


def test_rounding_by_hand() -> None:
    assert shown(Rounding(1), [0.64, 0.32, 0.04]) == [pytest.approx([2 / 3, 1 / 3, 0], abs=1e-6)]
    assert shown(Rounding(2), [0.5612, 0.4388]) == [pytest.approx([0.56, 0.44])]
    logits = Rounding(2).release(nn.Identity())(torch.tensor([[20.0, 0.0, 0.0]]))
    assert torch.isfinite(logits).all()
    assert logits[0, 0].item() == pytest.approx(0.0)
    assert (logits[0, 1:] < -100).all(), "a probability of 0, as the reader of foreign answers has it"
