from __future__ import annotations

import pytest
import torch
from torch import Tensor

from membrane.core.generators import torch_generator
from membrane.data import Examples
from membrane.data.loader import Loader, as_inputs, batches_of, flip_and_crop


def images(n: int, size: int = 5) -> Examples:
    x = torch.arange(n * 2 * size * size).reshape(n, 2, size, size) % 251
    return Examples(x.to(torch.uint8), torch.arange(n) % 3, ("a", "b", "c"))


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 10, 11, 12, 16, 23])
def test_every_example_comes_once_an_epoch_with_its_own_index_and_label(n: int) -> None:
    examples = images(n)
    loader, generator = Loader(examples, 8), torch_generator(0)
    for _ in range(3):
        batches = list(loader.epoch(generator))
        index = torch.cat([batch.index for batch in batches])
        assert sorted(index.tolist()) == list(range(n))
        assert len(batches) == len(loader)
        for batch in batches:
            assert torch.equal(batch.x, examples.x[batch.index].float() / 255)
            assert torch.equal(batch.y, examples.y[batch.index])


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(3, [3]), (8, [8]), (9, [9]), (11, [11]), (12, [8, 4]), (16, [8, 8]), (19, [8, 11]), (20, [8, 8, 4])],
)
def test_a_rest_of_less_than_half_a_batch_joins_the_one_before(n: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in batches_of(torch.arange(n), 8)] == sizes
    assert torch.equal(torch.cat(batches_of(torch.arange(n), 8)), torch.arange(n))


def test_the_order_is_the_generators() -> None:
    orders = [[b.index.tolist() for b in Loader(images(20), 8).epoch(torch_generator(seed))] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    generator = torch_generator(0)
    first, second = ([b.index.tolist() for b in Loader(images(20), 8).epoch(generator)] for _ in range(2))
    assert first != second
    assert [i for batch in orders[0] for i in batch] == torch.randperm(20, generator=torch_generator(0)).tolist()


def slow_flip_and_crop(x: Tensor, flips: list[bool], tops: list[int], lefts: list[int], padding: int) -> Tensor:
    """Pixel by pixel: where does each come from?"""
    b, _, h, w = x.shape
    out = torch.zeros_like(x)
    for i in range(b):
        for row in range(h):
            for column in range(w):
                from_row = row + tops[i] - padding
                from_column = column + lefts[i] - padding
                if 0 <= from_row < h and 0 <= from_column < w:
                    at = w - 1 - from_column if flips[i] else from_column
                    out[i, :, row, column] = x[i, :, from_row, at]
    return out


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_augmentation_equals_the_slow_loop(padding: int) -> None:
    x = torch.rand(12, 2, 5, 6, generator=torch_generator(3))
    generator = torch_generator(4)
    flips = (torch.rand(12, generator=generator) < 0.5).tolist()
    tops, lefts = torch.randint(2 * padding + 1, (2, 12, 1), generator=generator)[..., 0].tolist()
    assert len(set(flips)) == 2
    expected = slow_flip_and_crop(x, flips, tops, lefts, padding)
    assert torch.equal(flip_and_crop(x, torch_generator(4), padding), expected)


def test_augmentation_reaches_every_flip_and_offset() -> None:
    x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).expand(2_000, 1, 3, 3)
    seen = {tuple(image.flatten().tolist()) for image in flip_and_crop(x, torch_generator(0), padding=1)}
    assert len(seen) == 2 * 3 * 3


def test_only_an_augmenting_loader_augments_and_it_keeps_labels() -> None:
    examples = images(16)
    (batch,) = Loader(examples, 16, augment=True).epoch(torch_generator(0))
    plain = examples.x[batch.index].float() / 255
    assert (batch.x != plain).flatten(1).any(1).float().mean() > 0.5
    assert torch.equal(batch.y, examples.y[batch.index])


def test_inputs_are_scaled_pixels_or_features_as_they_are() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert as_inputs(pixels).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert as_inputs(torch.tensor([[0, 1]], dtype=torch.uint8)).tolist() == [
        [0.0, 1.0]
    ]  # binary features are no pixels
    features = torch.tensor([-3.0, 700.0])
    assert as_inputs(features) is features
