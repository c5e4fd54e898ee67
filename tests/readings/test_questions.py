"""Every reading of the catalogue answers the same questions, on a network for images and on one for features."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from membrane.core.generators import torch_generator
from membrane.core.settings import to_plain
from membrane.data import Examples
from membrane.models import MLP, ResNet
from membrane.readings import READINGS, Reading

QUICK: Mapping[str, Mapping[str, Any]] = {  # settings under which a costly one takes a moment
    "expectation": {"folds": 2, "epochs": 2},
    "trajectory": {"epochs": 2},
    "boundary": {"budget": 150},
    "noisy_labels": {"copies": 5},
}

KINDS = ("images", "features")


@functools.cache
def examples(kind: str, n: int, seed: int) -> Examples:
    """Four classes that can be told apart."""
    generator = torch_generator(seed, kind)
    y = torch.randint(0, 4, (n,), generator=generator)
    if kind == "images":
        x = torch.randint(0, 200, (n, 3, 8, 8), generator=generator)
        x[torch.arange(n), 0, y] += 55
        return Examples(x.to(torch.uint8), y, tuple("abcd"))
    x = torch.randn(n, 6, generator=generator)
    x[torch.arange(n), y] += 2
    return Examples(x, y, tuple("abcd"))


def network(kind: str) -> nn.Module:
    settings = ResNet((4, 8), (1, 1)) if kind == "images" else MLP((8, 8))
    return settings.build(examples(kind, 9, 0), torch_generator(0, "weights")).train()


def reading_of(name: str) -> Reading:
    return READINGS.make({"name": name, **QUICK.get(name, {})})


@functools.cache
def read(name: str, kind: str) -> tuple[Any, Any]:
    return reading_of(name)(network(kind), examples(kind, 37, 1), examples(kind, 100, 2), torch_generator(3))


can_read = [(name, kind) for name in READINGS for kind in KINDS if not reading_of(name).mistakes(
    examples(kind, 37, 1), examples(kind, 100, 2))]  # fmt: skip
each = pytest.mark.parametrize(("name", "kind"), can_read)


def test_every_reading_can_be_asked() -> None:
    assert {name for name, _ in can_read} == set(READINGS)


@each
def test_one_row_for_each_example_and_as_many_numbers_for_strangers(name: str, kind: str) -> None:
    of_pool, of_population = read(name, kind)
    assert of_pool.shape[:1] == (37,)
    assert of_population.shape == (100, of_pool.shape[1])
    assert np.isfinite(of_pool).all()
    assert (of_pool.std(axis=0) > 0).any()


@each
def test_columns_are_named_all_or_none(name: str, kind: str) -> None:
    named = reading_of(name).columns(network(kind), examples(kind, 37, 1))
    assert len(set(named)) == len(named)
    assert len(named) in (0, read(name, kind)[0].shape[1])


@each
def test_the_same_generator_gives_the_same_bits(name: str, kind: str) -> None:
    again = reading_of(name)(network(kind), examples(kind, 37, 1), examples(kind, 100, 2), torch_generator(3))
    for one, other in zip(read(name, kind), again, strict=True):
        np.testing.assert_array_equal(one, other)


@each
def test_an_audited_example_is_read_alike_in_any_company(name: str, kind: str) -> None:
    some = torch.tensor([30, 2, 17, 5])
    found, _ = reading_of(name)(network(kind), examples(kind, 37, 1)[some], examples(kind, 100, 2), torch_generator(3))
    np.testing.assert_allclose(found, read(name, kind)[0][some.numpy()], rtol=1e-3, atol=1e-4)


@each
def test_the_model_is_left_as_it_was(name: str, kind: str) -> None:
    model = network(kind)
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    reading_of(name)(model, examples(kind, 37, 1), examples(kind, 100, 2), torch_generator(3))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()] == hooks


@each
def test_no_number_is_drawn_from_the_global_generator(name: str, kind: str) -> None:
    state = torch.get_rng_state()
    reading_of(name)(network(kind), examples(kind, 37, 1), examples(kind, 100, 2), torch_generator(3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", READINGS)
def test_settings_survive_plain_form(name: str) -> None:
    reading = reading_of(name)
    assert READINGS.make(to_plain(reading)) == reading
