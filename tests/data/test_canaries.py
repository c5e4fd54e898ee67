from __future__ import annotations

import numpy as np
import pytest
import torch

from membrane.core.errors import DataError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples, from_arrays
from membrane.data.canaries import CANARIES, Canary, Mislabelled, NearDuplicate, OutOfDistribution

N = 60


def numbers(n: int = N, n_classes: int = 3) -> Examples:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return Examples(x, torch.arange(n) % n_classes, tuple("abcdefghij"[:n_classes]))


def bits() -> Examples:
    x = torch.rand(N, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    return Examples(x.to(torch.uint8), torch.arange(N) % 3, ("a", "b", "c"))


def pictures() -> Examples:
    x = torch.randint(256, (N, 3, 6, 5), generator=torch.Generator().manual_seed(0))
    return Examples(x.to(torch.uint8), torch.arange(N) % 3, ("a", "b", "c"))


@pytest.fixture(params=CANARIES)
def kind(request: pytest.FixtureRequest) -> Canary:
    return CANARIES.make(request.param)


@pytest.mark.parametrize("pool", [numbers(), bits(), pictures()], ids=["numbers", "bits", "pictures"])
def test_only_canaries_change_and_the_generator_decides_how(kind: Canary, pool: Examples) -> None:
    planted = kind.plant(pool, 17, torch_generator(3))
    assert planted.index.shape == (17,)
    assert planted.index.dtype == np.int64
    assert (np.diff(planted.index) > 0).all()
    others = np.delete(np.arange(N), planted.index)
    assert torch.equal(planted.examples.x[others], pool.x[others])
    assert torch.equal(planted.examples.y[others], pool.y[others])
    assert planted.examples.x.dtype == pool.x.dtype
    assert planted.examples.classes == pool.classes
    assert planted.examples.checksum() != pool.checksum()
    assert planted.examples.checksum() == kind.plant(pool, 17, torch_generator(3)).examples.checksum()
    assert planted.examples.checksum() != kind.plant(pool, 17, torch_generator(4)).examples.checksum()


def test_none_and_too_many_are_none_and_refused(kind: Canary) -> None:
    pool = numbers()
    none = kind.plant(pool, 0, torch_generator(0))
    assert none.index.tolist() == []
    assert none.examples.checksum() == pool.checksum()
    for n in (-1, N + 1):
        with pytest.raises(DataError, match=f"{n} canaries do not fit"):
            kind.plant(pool, n, torch_generator(0))


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_mislabelled_canaries_always_carry_a_wrong_label(n_classes: int) -> None:
    pool = numbers(n_classes=n_classes)
    for seed in range(20):
        planted = Mislabelled().plant(pool, 17, torch_generator(seed))
        changed = (planted.examples.y != pool.y).numpy()
        np.testing.assert_array_equal(np.flatnonzero(changed), planted.index)
        assert torch.equal(planted.examples.x, pool.x)


def test_every_wrong_label_is_as_likely() -> None:
    pool = numbers(6_000, 4)
    planted = Mislabelled().plant(pool, 6_000, torch_generator(0))
    shift = ((planted.examples.y - pool.y) % 4).bincount(minlength=4)
    assert shift[0] == 0
    assert (shift[1:] - 2_000).abs().max() < 5 * (6_000 * (1 / 3) * (2 / 3)) ** 0.5


def test_a_wrong_label_needs_a_second_class() -> None:
    with pytest.raises(DataError, match="second class"):
        Mislabelled().plant(numbers(n_classes=1), 1, torch_generator(0))


def test_near_duplicates_are_changed_images_of_ordinary_examples_with_their_label() -> None:
    pool = pictures()
    planted = NearDuplicate(noise=2.0, shift=0).plant(pool, 12, torch_generator(0))
    assert torch.equal(planted.examples.y, pool.y)
    others = np.delete(np.arange(N), planted.index)
    for canary in planted.index:
        difference = planted.examples.x[canary].float() - pool.x.float()
        distance = difference.square().mean((1, 2, 3)).sqrt()
        original = int(distance.argmin())
        assert original in others
        assert 1 < float(distance[original]) < 3
        assert pool.y[original] == planted.examples.y[canary]


def test_shifts_repeat_the_edge_and_reach_every_offset() -> None:
    one = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).repeat(400, 1, 1, 1)
    pool = Examples(one, torch.zeros(400, dtype=torch.int64), ("a",))
    planted = NearDuplicate(noise=0.0, shift=1).plant(pool, 300, torch_generator(0))
    seen = {tuple(x.flatten().tolist()) for x in planted.examples.x[planted.index]}
    assert len(seen) == 9
    assert (4, 5, 5, 7, 8, 8, 7, 8, 8) in seen


def test_near_duplicates_of_features_take_some_values_of_another_example() -> None:
    pool = bits()
    planted = NearDuplicate(replaced=0.06).plant(pool, 20, torch_generator(0))
    for canary in planted.index:
        away = (planted.examples.x[canary] != pool.x).sum(1)
        assert 1 <= int(away[pool.y == pool.y[canary]].min()) <= 3


def test_each_original_is_used_once_while_there_are_enough() -> None:
    pool = pictures()
    planted = NearDuplicate(noise=0.1, shift=0).plant(pool, 30, torch_generator(0))
    away = torch.cdist(planted.examples.x[planted.index].float().flatten(1), pool.x.float().flatten(1))
    originals = away.argmin(1)
    per_class = [originals[planted.examples.y[planted.index] == label] for label in range(3)]
    for mine in per_class:
        assert len(set(mine.tolist())) == len(mine) or len(mine) > 10


def test_a_class_of_canaries_alone_has_no_originals() -> None:
    with pytest.raises(DataError, match="every example of class 0 would be a canary"):
        NearDuplicate().plant(numbers(), N, torch_generator(0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise": -1.0}, "noise is -1"),
        ({"shift": -1}, "shift is -1"),
        ({"noise": 0.0, "shift": 0}, "give one of them"),
        ({"replaced": 1.5}, "replaced is 1.5"),
    ],
)
def test_changes_out_of_range_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        NearDuplicate(**settings)  # type: ignore[arg-type]


def test_noise_is_uniform_over_pixels_and_labels() -> None:
    pool = Examples(torch.zeros(4_000, 1, 4, 4, dtype=torch.uint8), torch.zeros(4_000, dtype=torch.int64), ("a", "b"))
    planted = OutOfDistribution().plant(pool, 3_000, torch_generator(0))
    x, y = planted.examples.x[planted.index], planted.examples.y[planted.index]
    assert (x.flatten().bincount(minlength=256) / x.numel() * 256 - 1).abs().max() < 0.5
    assert (int(x.min()), int(x.max())) == (0, 255)
    assert 1_500 - 5 * 27 < int(y.sum()) < 1_500 + 5 * 27


def test_noise_in_features_keeps_to_the_range_of_each_column_and_to_whole_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.stack(
        [torch.rand(N, generator=generator) * 10 - 5, torch.randint(3, (N,), generator=generator).float()], 1
    )
    pool = Examples(x, torch.zeros(N, dtype=torch.int64), ("a",))
    planted = OutOfDistribution().plant(pool, 50, torch_generator(0))
    noise = planted.examples.x[planted.index]
    assert (noise >= x.amin(0)).all()
    assert (noise <= x.amax(0)).all()
    assert set(noise[:, 1].tolist()) == {0.0, 1.0, 2.0}
    assert len(set(noise[:, 0].tolist())) == 50


def test_other_data_can_stand_in_for_noise_if_they_fit() -> None:
    pool = pictures()
    other = from_arrays(torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 3, 6, 5), torch.zeros(20))
    planted = OutOfDistribution(other).plant(pool, 20, torch_generator(0))
    assert sorted(planted.examples.x[planted.index][:, 0, 0, 0].tolist()) == list(range(20))
    with pytest.raises(DataError, match="20 other inputs for 21 canaries"):
        OutOfDistribution(other).plant(pool, 21, torch_generator(0))
    with pytest.raises(DataError, match=r"float32 \(4,\), the pool's torch.uint8 \(3, 6, 5\)"):
        OutOfDistribution(numbers()).plant(pool, 5, torch_generator(0))
