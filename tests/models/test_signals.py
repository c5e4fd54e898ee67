from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from membrane.core import SIGNAL_KINDS, ModelError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MLP, logits_of, signals_from_logits, signals_of
from membrane.models.signals import evaluating


def slow_signals(logits: list[float], label: int) -> dict[str, float]:
    """The textbook formulas, in 470 digits, where nothing cancels and nothing underflows."""
    with localcontext() as context:
        context.prec = 470
        z = [Decimal(value) for value in logits]
        powers = [value.exp() for value in z]
        total = sum(powers)
        p = [power / total for power in powers]
        not_p = [(total - power) / total for power in powers]
        rest = [value for j, value in enumerate(z) if j != label]
        rest_p = [(p[j], not_p[j]) for j in range(len(z)) if j != label]
        found = {
            "loss": -p[label].ln(),
            "rescaled_logit": (p[label] / not_p[label]).ln(),
            "margin": z[label] - max(rest),
            "entropy": -sum(q * q.ln() for q in p),
            "modified_entropy": -not_p[label] * p[label].ln() - sum(q * not_q.ln() for q, not_q in rest_p),
            "correct": Decimal(z[label] == max(z)),
        }
        return {name: float(value) for name, value in found.items()}


RANDOM = (torch.randn(6, 5, generator=torch_generator(0)) * torch.tensor([[0.1], [1], [5], [20], [60], [90]])).tolist()
LOGITS = [
    *RANDOM,
    [500.0, -500.0, 0.0],
    [-500.0, 500.0, 0.0],
    [500.0, 500.0 - 2**-10, -500.0],
    [50.0, 1.0, 0.0],
    [1.0, 50.0, 2.0],
    [80.0, 0.0],
    [0.0, 0.0, 0.0],
    [1e-3, 0.0],
]


@pytest.mark.parametrize("logits", LOGITS, ids=lambda z: "_".join(f"{value:.3g}" for value in z))
def test_signals_equal_the_formulas_in_470_digits(logits: list[float]) -> None:
    exact = [float(np.float32(value)) for value in logits]
    for label in range(len(exact)):
        found = signals_from_logits(torch.tensor([exact]), torch.tensor([label])).arrays()
        expected = slow_signals(exact, label)
        assert list(found) == list(SIGNAL_KINDS)
        for name, value in expected.items():
            if name == "correct" and exact.count(max(exact)) > 1:
                continue
            assert found[name].shape == (1, 1)
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name][0, 0], value, rtol=3e-7, atol=1e-45, err_msg=f"{name} of {label}")


def test_sure_members_keep_their_order() -> None:
    """A float32 softmax gives loss 0 to all of these."""
    leads = torch.arange(20.0, 100.0, 0.5)
    logits = torch.stack([leads, torch.zeros_like(leads)], 1)
    assert (torch.nn.functional.cross_entropy(logits, torch.zeros(160, dtype=torch.int64), reduction="none") == 0).any()
    signals = signals_from_logits(logits, torch.zeros(160, dtype=torch.int64))
    for name, sign in (("loss", -1), ("entropy", -1), ("rescaled_logit", 1), ("margin", 1)):
        assert (np.diff(sign * getattr(signals, name)[:, 0]) > 0).all(), name
    assert (np.diff(signals.modified_entropy[leads <= 50, 0]) < 0).all()
    assert signals.loss[-1, 0] == pytest.approx(math.exp(-99.5), rel=1e-3)


def test_hopeless_non_members_keep_their_order() -> None:
    leads = torch.arange(0.0, 1_000.0, 5.0)
    signals = signals_from_logits(
        torch.stack([-leads, torch.zeros_like(leads)], 1), torch.zeros(200, dtype=torch.int64)
    )
    for name in ("loss", "modified_entropy"):
        assert (np.diff(getattr(signals, name)[:, 0]) > 0).all(), name


def test_a_shift_of_all_logits_changes_nothing() -> None:
    logits = torch.randn(8, 4, generator=torch_generator(1)).double()
    labels = torch.arange(8) % 4
    shifted = signals_from_logits(logits + 1_000, labels)
    for name, field in signals_from_logits(logits, labels).arrays().items():
        np.testing.assert_allclose(shifted.arrays()[name], field, rtol=1e-6, atol=1e-9)


def test_one_class_is_refused() -> None:
    with pytest.raises(ModelError, match="two classes"):
        signals_from_logits(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


def digits_like(n: int = 23) -> Examples:
    x = torch.randint(0, 256, (n, 1, 4, 4), dtype=torch.uint8, generator=torch_generator(0, "x"))
    return Examples(x, torch.arange(n) % 3, ("a", "b", "c"))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 22, 23, 500])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    examples = digits_like()
    model = nn.Sequential(MLP().build(examples, torch_generator(0)), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    expected = logits_of(model, examples)
    torch.testing.assert_close(logits_of(model, examples, batch_size), expected, rtol=1e-5, atol=1e-6)
    signals = signals_of(model, examples, batch_size)
    assert signals.shape == (23, 1)
    with evaluating(model):
        by_hand = model(examples.x.float() / 255)
    torch.testing.assert_close(expected, by_hand.clone(), rtol=1e-5, atol=1e-6)


class Returns(nn.Module):
    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> object:
        return self.what(x) if callable(self.what) else self.what


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            lambda x: torch.zeros(len(x), 4),
            r"returned \(23, 4\) for 23 inputs; it must return logits of shape \(23, 3\)",
        ),
        (lambda x: torch.zeros(len(x)), r"returned \(23,\)"),
        (lambda x: torch.zeros(len(x), 3, 1), r"returned \(23, 3, 1\)"),
        (lambda x: torch.zeros(len(x) - 1, 3), r"returned \(22, 3\)"),
        (lambda x: (torch.zeros(len(x), 3), None), "returned tuple"),
        (lambda x: {"logits": torch.zeros(len(x), 3)}, "returned dict"),
        (None, "returned NoneType"),
        (lambda x: torch.full((len(x), 3), torch.nan), "NaN or infinite"),
        (lambda x: torch.zeros(len(x), 3).index_fill_(0, torch.tensor([5]), torch.inf), "NaN or infinite"),
    ],
)
def test_models_that_return_something_else_are_refused(output: object, said: str) -> None:
    model = Returns(output).train()
    with pytest.raises(ModelError, match=said):
        signals_of(model, digits_like())
    assert model.training


def test_a_model_for_other_inputs_is_refused() -> None:
    with pytest.raises(ModelError, match=r"cannot take inputs of shape \(23, 1, 4, 4\)"):
        signals_of(nn.Linear(7, 3), digits_like())


def test_each_module_gets_its_own_mode_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes
    assert not torch.is_inference_mode_enabled()


def test_reading_signals_changes_nothing_in_the_model() -> None:
    examples = digits_like()
    model = nn.Sequential(MLP().build(examples, torch_generator(0)), nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    signals_of(model, examples)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
