"""Pinned: every split, canary and initial weight of every stored run hangs on these numbers."""

from __future__ import annotations

import numpy as np
import torch

from membrane.core.generators import derive_seed, numpy_generator, spawn_seed, torch_generator


def test_seeds_are_pinned() -> None:
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(0, "model", 3) == 2863036354893643675
    assert derive_seed(7, "task", "split") == 6333224210435591043


def test_draws_are_pinned() -> None:
    assert torch.randperm(6, generator=torch_generator(0, "order")).tolist() == [3, 4, 2, 0, 5, 1]
    assert torch.randint(1000, (3,), generator=torch_generator(1)).tolist() == [955, 699, 681]
    assert numpy_generator(0, "order").integers(1000, size=3).tolist() == [179, 781, 628]
    assert spawn_seed(torch_generator(0, "order")) == 4376035335376103581


def test_streams_are_apart() -> None:
    seeds = {
        derive_seed(seed, *names) for seed in range(50) for names in ((), ("a",), ("b",), ("a", 1), ("a", 2), (1,))
    }
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_depend_on_what_else_was_drawn() -> None:
    before = torch.rand(4, generator=torch_generator(3, "a"))
    torch_generator(3, "b").seed()
    np.testing.assert_array_equal(torch.rand(4, generator=torch_generator(3, "a")), before)


def test_the_global_generators_are_left_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    torch.rand(2, generator=torch_generator(0))
    numpy_generator(0).random(2)
    spawn_seed(torch_generator(0))
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_spawned_seeds_follow_the_generator() -> None:
    generator = torch_generator(0)
    assert len({spawn_seed(generator) for _ in range(20)}) == 20
