"""Posteriors against the softmax of single examples, and where it rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.models import MLP
from membrane.readings import Posteriors


def features(n: int = 40) -> Examples:
    generator = torch_generator(0, "features")
    return Examples(torch.randn(n, 5, generator=generator), torch.arange(n) % 4, tuple("abcd"))


def test_posteriors_are_those_of_single_examples() -> None:
    examples = features()
    model = MLP((6,)).build(examples, torch_generator(0)).eval()
    every, _ = Posteriors()(model, examples, None, torch_generator(0))
    top, of_strangers = Posteriors(3)(model, examples, examples, torch_generator(0))
    for i in range(len(examples)):
        logits = model(examples.x[i : i + 1])[0].tolist()
        log_p = [one - math.log(sum(math.exp(other) for other in logits)) for one in logits]
        np.testing.assert_allclose(every[i], log_p, rtol=1e-5)
        np.testing.assert_allclose(top[i], sorted(log_p, reverse=True)[:3], rtol=1e-5)
    np.testing.assert_array_equal(of_strangers, top)
    assert Posteriors(9)(model, examples, None, torch_generator(0))[0].shape == (40, 4)


def test_answers_that_round_to_one_are_told_apart() -> None:
    logits = torch.tensor([[40.0, 0.0], [50.0, 0.0], [0.0, 60.0]])
    examples = Examples(logits, torch.tensor([0, 0, 1]), ("a", "b"))
    found, _ = Posteriors(1)(nn.Identity(), examples, None, torch_generator(0))
    np.testing.assert_allclose(found[:, 0], -np.exp([-40.0, -50.0, -60.0]), rtol=1e-6)


def test_fewer_than_none_is_refused() -> None:
    with pytest.raises(SettingError, match="top is -1"):
        Posteriors(-1)
