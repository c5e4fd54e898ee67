"""SM-Taylor-softmax against its formula, one example and one way of asking at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import as_inputs
from membrane.data.queries import ways
from membrane.models import ResNet
from membrane.readings import TaylorSoftmax


def series(u: float, terms: int) -> float:
    return max(sum(u**i / math.factorial(i) for i in range(terms)), float(np.finfo(np.float32).tiny))


def slow(logits: list[float], label: int, terms: int, temperature: float, margin: float) -> float:
    u = [one / temperature for one in logits]
    own = series(u[label] - margin, terms)
    rest = sum(series(one, terms) for j, one in enumerate(u) if j != label)
    return -math.log(own / (own + rest))


@pytest.mark.parametrize("settings", [(4, 2.0, 0.6), (3, 1.0, 0.0), (6, 0.5, 1.0)], ids=str)
def test_equals_the_formula_also_where_the_series_is_negative(settings: tuple[int, float, float]) -> None:
    logits = 8 * torch.randn(50, 5, dtype=torch.float64, generator=torch_generator(0))
    y = torch.arange(50) % 5
    found = TaylorSoftmax(*settings).loss(logits, y)
    expected = [slow(row, label, *settings) for row, label in zip(logits.tolist(), y.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (found > 0).all()


def test_many_terms_without_a_margin_are_the_softmax() -> None:
    logits, y = torch.randn(50, 5, dtype=torch.float64, generator=torch_generator(0)), torch.arange(50) % 5
    softmax = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(TaylorSoftmax(20, 1.0, 0.0).loss(logits, y), softmax)


def test_does_not_saturate_where_the_softmax_does() -> None:
    """Logits 40 and 50 above the others: the softmax differs by 1e-17, the cube by half of it."""
    found = TaylorSoftmax().loss(torch.tensor([[40.0, 0.0], [50.0, 0.0]], dtype=torch.float64), torch.zeros(2).long())
    assert found[0] > 1.5 * found[1] > 0


def test_every_way_of_asking_has_its_column() -> None:
    x = torch.randint(0, 256, (5, 1, 6, 6), generator=torch_generator(0), dtype=torch.uint8)
    examples = Examples(x, torch.arange(5) % 3, tuple("abc"))
    model = ResNet((4, 8), (1, 1)).build(examples, torch_generator(0, "weights")).eval()
    reading = TaylorSoftmax(queries_by="mirror")
    found, _ = reading(model, examples, None, torch_generator(0))
    assert found.shape == (5, reading.queries) == (5, 2)
    for column, way in enumerate(ways("mirror")):
        logits = model(as_inputs(way(x))).tolist()
        expected = [slow(row, label, 4, 2.0, 0.6) for row, label in zip(logits, examples.y.tolist(), strict=True)]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-4)


def test_tables_are_asked_as_they_are_or_not_at_all() -> None:
    table = Examples(torch.rand(4, 3, generator=torch_generator(0)), torch.arange(4) % 2, ("a", "b"))
    assert "Use 'identity'" in TaylorSoftmax().mistakes(table, None)[0]
    assert not TaylorSoftmax(queries_by="identity").mistakes(table, None)
