from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from membrane.core.errors import DataError, SettingError
from membrane.data import Examples, Source, Splits, find_duplicates
from membrane.data.unique import Unique


def examples(x: Tensor) -> Examples:
    return Examples(x, torch.arange(len(x)) % 2, ("a", "b"))


def features(*rows: int) -> Examples:
    return examples(torch.tensor(rows, dtype=torch.float32)[:, None])


def found(parts: dict[str, Examples], within: list[str], near: float | None = None) -> dict[tuple[str, str], object]:
    return {(one.first, one.second): one.pairs.tolist() for one in find_duplicates(parts, within, near)}


def test_copies_are_found_inside_a_part_and_between_parts_with_their_first_positions() -> None:
    parts = {"pool": features(1, 2, 1, 3, 1, 2), "test": features(9, 2, 8, 2), "holdout": features(8, 1)}
    assert found(parts, ["pool"]) == {
        ("pool", "pool"): [[0, 2], [0, 4], [1, 5]],
        ("pool", "test"): [[1, 1]],
        ("pool", "holdout"): [[0, 1]],
        ("test", "holdout"): [[2, 0]],
    }
    assert ("test", "test") not in found(parts, [])
    assert found(parts, ["test"])["test", "test"] == [[1, 3]]
    assert found({"pool": features(1, 2), "test": features(3, 4)}, ["pool", "test"]) == {}


def test_what_was_found_is_said_with_count_and_first_positions() -> None:
    parts = {"pool": features(1, 2, 1, 3), "test": features(7, 3)}
    said = list(map(str, find_duplicates(parts, ["pool"])))
    assert said == [
        "pool holds 1 identical inputs, the first at 0 and 2.",
        "pool and test share 1 identical inputs, the first at 3 in pool and 1 in test.",
    ]


def photos(n: int, seed: int, size: int = 20) -> Tensor:
    """Smooth random pictures."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 255
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)


def as_pixels(x: Tensor) -> Examples:
    return examples(x.round().clamp(0, 255).to(torch.uint8))


def test_copies_that_were_changed_a_little_are_found_if_asked_for() -> None:
    x = photos(40, 0)
    noise = torch.randn(6, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    copies = torch.cat([x[:2] + 4 * noise[:2], 0.7 * x[2:4] + 20, photos(6, 2)])
    parts = {"pool": as_pixels(x), "test": as_pixels(copies)}
    assert found(parts, ["pool", "test"]) == {}
    assert found(parts, ["pool", "test"], 0.95) == {("pool", "test"): [[i, i] for i in range(4)]}
    (near,) = find_duplicates(parts, [], 0.95)
    assert str(near).startswith("pool and test share 4 almost identical inputs, the first at 0 in pool")


@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 7, 13), (3, 33, 9), (1, 3, 3)])
@pytest.mark.parametrize("near", [0.6, 0.9, 0.97])
def test_the_look_up_finds_every_pair_that_comparing_all_finds(shape: tuple[int, ...], near: float) -> None:
    base = torch.nn.functional.interpolate(photos(60, 3), shape[1:])[:, : shape[0]]
    noise = torch.randn(60, *shape, generator=torch.Generator().manual_seed(4)) * torch.linspace(0, 80, 60).view(
        -1, 1, 1, 1
    )
    whole = as_pixels(torch.cat([base, base + noise]))
    correlation = np.corrcoef(whole.x.flatten(1).numpy())
    expected = [
        [i, j] for j in range(120) for i in range(j) if correlation[i, j] >= near and (whole.x[i] != whole.x[j]).any()
    ]
    first = {j: i for i, j in sorted(expected, reverse=True)}
    same = {j for one in find_duplicates({"x": whole}, ["x"]) for j in one.pairs[:, 1].tolist()}
    (pairs,) = (one.pairs.tolist() for one in find_duplicates({"x": whole}, ["x"], near) if one.near)
    assert pairs == sorted([i, j] for j, i in first.items() if not {i, j} & same)
    assert len(first) > 10


def test_pictures_of_one_colour_are_no_near_copies() -> None:
    plain = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 8, 8)
    assert found({"x": examples(plain)}, ["x"], 0.9) == {}
    assert found({"x": examples(plain[[0, 0]])}, ["x"], 0.9) == {("x", "x"): [[0, 1]]}


@pytest.mark.parametrize("near", [0.0, 0.5, 1.0, -1.0])
def test_a_correlation_out_of_range_is_refused(near: float) -> None:
    with pytest.raises(SettingError, match=r"above 0\.5 and below 1"):
        find_duplicates({"x": as_pixels(photos(2, 0))}, near=near)


def test_near_copies_of_features_are_not_looked_for() -> None:
    with pytest.raises(SettingError, match="among images"):
        find_duplicates({"x": features(1, 2)}, near=0.9)


class Held(Source):
    """A source of what it was given."""

    def __init__(self, train: Examples, test: Examples) -> None:
        self.splits = Splits(train, test)

    def load(self) -> Splits:
        return self.splits


def test_a_unique_source_keeps_the_first_copy_and_the_whole_test_split() -> None:
    train, test = Unique(Held(features(5, 1, 2, 1, 3, 5), features(3, 3, 9))).load()
    assert train.x.flatten().tolist() == [5, 1, 2]
    assert test.x.flatten().tolist() == [3, 3, 9]
    assert find_duplicates({"train": train, "test": test}, ["train"]) == []


def test_a_unique_source_drops_near_copies_if_asked_for() -> None:
    x = photos(10, 0)
    source = Held(as_pixels(torch.cat([x, 0.8 * x[:3]])), as_pixels(0.9 * x[5:6]))
    assert len(Unique(source).load().train) == 13
    assert len(Unique(source, near=0.95).load().train) == 9


def test_nothing_left_is_refused() -> None:
    with pytest.raises(DataError, match="nothing is left"):
        Unique(Held(features(1, 1), features(1))).load()
