"""Ways of asking for an image: by loops, and refused where there is no image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data import Examples, Task
from membrane.data.queries import Queries, Way, ways
from membrane.models import ResNet, signals_of
from tests.training import jobs


def images(n: int = 3, channels: int = 2, height: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, height, width), generator=torch_generator(0), dtype=torch.uint8)


def mirrored_at_edge(place: int, n: int) -> int:
    """-1 is 1, n is n - 2: the edge itself is not repeated."""
    return -place if place < 0 else 2 * (n - 1) - place if place >= n else place


@pytest.mark.parametrize("way", ways("shifts"), ids=str)
def test_a_way_is_what_a_loop_over_pixels_says(way: Way) -> None:
    x = images()
    height, width = x.shape[-2:]
    expected = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            place = width - 1 - column if way.mirror else column
            source = mirrored_at_edge(row - way.down, height), mirrored_at_edge(place - way.right, width)
            expected[:, :, row, column] = x[:, :, *source]
    torch.testing.assert_close(way(x), expected, rtol=0, atol=0)


def test_ways_are_different_and_begin_with_the_image_itself() -> None:
    x = images()
    for queries, n in (("identity", 1), ("mirror", 2), ("shifts", 18)):
        found = [way(x) for way in ways(queries)]  # type: ignore[arg-type]
        assert len(found) == n == len({one.numpy().tobytes() for one in found})
        assert found[0] is x


@pytest.mark.parametrize("queries", ["mirror", "shifts"])
def test_signals_of_several_ways_stand_side_by_side(queries: Queries) -> None:
    examples = Examples(images(7, 1, 4, 4), torch.arange(7) % 3, tuple("abc"))
    model = ResNet((4, 4), (1, 1)).build(examples, torch_generator(0))
    found = signals_of(model, examples, queries=queries)
    assert found.shape == (7, len(ways(queries)))
    for q, way in enumerate(ways(queries)):
        alone = signals_of(model, Examples(way(examples.x), examples.y, examples.classes))
        np.testing.assert_array_equal(found.loss[:, q], alone.loss[:, 0])


def test_only_images_are_asked_for_in_other_ways() -> None:
    task = jobs.task()
    assert task.asked("mirror").queries == "mirror"
    with pytest.raises(SettingError, match=r"queries is 'mirrors'; it must be one of identity, mirror, shifts"):
        task.asked("mirrors")  # type: ignore[arg-type]
    table = Examples(torch.rand(5, 3, generator=torch_generator(0)), torch.arange(5) % 2, ("a", "b"))
    one = Task(table, np.ones((1, 5), bool), np.zeros(0, np.int64), None, table)
    assert one.asked("identity").queries == "identity"
    with pytest.raises(SettingError, match=r"inputs are \(3,\). Use 'identity'"):
        one.asked("shifts")
