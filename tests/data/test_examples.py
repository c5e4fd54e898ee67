from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from membrane.core.errors import DataError
from membrane.data import Examples, from_arrays, from_dataset, refuse_overlap
from membrane.data.examples import joined

AB = ("a", "b")


def features(n: int = 4, seed: int = 0) -> Examples:
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return Examples(x, torch.arange(n) % 2, AB)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.zeros(4), torch.zeros(4, dtype=torch.int64), r"inputs have shape \(4,\)"),
        (torch.zeros(4, 2, 2), torch.zeros(4, dtype=torch.int64), r"inputs have shape \(4, 2, 2\)"),
        (torch.tensor(1.0), torch.zeros(1, dtype=torch.int64), r"inputs have shape \(\)"),
        (torch.zeros(4, 2).double(), torch.zeros(4, dtype=torch.int64), "inputs are torch.float64"),
        (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), "inputs are torch.int64"),
        (torch.zeros(4, 2), torch.zeros(4), "labels are torch.float32"),
        (torch.zeros(4, 2), torch.full((4,), torch.nan), "labels are torch.float32"),
        (torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64), r"labels are torch.int64 of shape \(4, 1\)"),
        (torch.zeros(4, 2), torch.tensor(0), r"labels are torch.int64 of shape \(\)"),
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), "3 inputs and 4 labels"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), "run from 0 to 2; with 2 classes they must lie in 0 to 1"),
        (torch.zeros(2, 2), torch.tensor([-1, 0]), "run from -1 to 0"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "there are no examples"),
        (torch.zeros(2, 0), torch.zeros(2, dtype=torch.int64), "hold no numbers"),
        (torch.zeros(2, 3, 0, 0), torch.zeros(2, dtype=torch.int64), "hold no numbers"),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, y: Tensor, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Examples(x, y, AB)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_counted_and_the_first_is_named(bad: float) -> None:
    x = torch.zeros(5, 1, 2, 2)
    x[3, 0, 1, 1] = x[4, 0, 0, 0] = bad
    with pytest.raises(DataError, match="2 inputs hold NaN or infinity, the first is number 3"):
        Examples(x, torch.zeros(5, dtype=torch.int64), AB)


def test_all_mistakes_are_listed_at_once() -> None:
    x = torch.full((3, 2, 2), torch.nan, dtype=torch.float64)
    with pytest.raises(DataError, match="5 mistakes") as caught:
        Examples(x, torch.tensor([0, 5, 1, 1]), AB)
    for part in ("inputs have shape", "float64", "3 inputs and 4 labels", "run from 0 to 5", "3 inputs hold NaN"):
        assert part in str(caught.value)


def test_choosing_keeps_order_type_and_names() -> None:
    examples = features(6)
    chosen = examples[torch.tensor([4, 1])]
    assert torch.equal(chosen.x, examples.x[[4, 1]])
    assert chosen.y.tolist() == [0, 1]
    assert chosen.classes == AB
    assert torch.equal(examples[np.array([4, 1])].x, chosen.x)
    assert torch.equal(examples[2:4].x, examples.x[2:4])
    assert len(examples[:5]) == 5
    with pytest.raises(DataError, match="there are no examples"):
        examples[:0]


def test_checksums_are_pinned() -> None:
    """Stored trainings are found by these."""
    examples = Examples(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 1]), AB)
    assert examples.checksum() == "5922aaa94772c214"


def test_a_checksum_changes_with_everything_but_the_source_name() -> None:
    x, y = torch.arange(12.0).reshape(3, 4), torch.tensor([0, 1, 1])
    same = [Examples(x, y, AB), Examples(x.clone(), y, AB, "elsewhere"), Examples(x.t().contiguous().t(), y, AB)]
    assert len({examples.checksum() for examples in same}) == 1
    other = [
        Examples(x + 1, y, AB),
        Examples(x.flip(0), y, AB),
        Examples(x, y.flip(0), AB),
        Examples(x, y, ("a", "c")),
        Examples(x, y, ("a", "b", "c")),
        Examples(x.reshape(3, 1, 2, 2), y, AB),
        Examples(x.to(torch.uint8).reshape(3, 1, 2, 2), y, AB),
        same[0][:2],
    ]
    assert len({examples.checksum() for examples in [same[0], *other]}) == len(other) + 1


def test_examples_are_joined_under_the_names_of_the_first() -> None:
    first, second = features(3), Examples(torch.ones(2, 3), torch.tensor([1, 0]), ("p", "q"), "elsewhere")
    both = joined(first, second)
    assert torch.equal(both.x, torch.cat([first.x, second.x]))
    assert both.y.tolist() == [0, 1, 0, 1, 0]
    assert (both.classes, both.source) == (AB, "arrays")


def test_splits_that_share_an_input_are_refused_pair_by_pair() -> None:
    whole = features(10)
    refuse_overlap({"pool": whole[:5], "holdout": whole[5:7], "test": whole[7:]})
    with pytest.raises(DataError, match=r"(?s)2 mistakes.*pool and holdout share 2 .*holdout and test share 1 "):
        refuse_overlap({"pool": whole[:5], "holdout": whole[3:7], "test": whole[6:]})


def test_an_input_under_another_label_is_still_shared() -> None:
    whole = features(4)
    with pytest.raises(DataError, match="a and b share 4 identical inputs"):
        refuse_overlap({"a": whole, "b": whole.relabelled(1 - whole.y)})


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda values: values])
def test_arrays_become_examples(kind: object) -> None:
    examples = from_arrays(kind([[1, 2.5], [3, 4]]), kind([2, 0]))  # type: ignore[operator]
    assert examples.x.dtype == torch.float32
    assert examples.x.tolist() == [[1, 2.5], [3, 4]]
    assert examples.y.tolist() == [2, 0]
    assert examples.classes == ("0", "1", "2")


def test_pixels_stay_pixels_and_are_copied() -> None:
    pixels = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    pixels.flags.writeable = False
    examples = from_arrays(pixels, np.array([0.0, 1.0]), classes=("cat", "dog"))
    assert examples.x.dtype == torch.uint8
    assert examples.y.dtype == torch.int64
    assert examples.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([[1, 2], [3]], [0, 1], "inputs are not one array of numbers"),
        ([["a"], ["b"]], [0, 1], "inputs are not one array of numbers"),
        ([[1.0], [2.0]], ["a", "b"], "labels are not one array of numbers"),
        ([[1.0], [2.0]], [0.5, 1], "labels are not whole numbers"),
        ([[1.0], [2.0]], [float("nan"), 1], "labels are not whole numbers"),
        ([[1.0], [2.0]], [-3, -1], "run from -3 to -1"),
        ([[1.0], [2.0]], [0, 10**9], "the largest label is 1,000,000,000"),
        ([[1e300], [2.0]], [0, 1], "1 inputs hold NaN or infinity"),
        ([], [], "there are no examples"),
        (5, [0], r"inputs have shape \(\)"),
        ([[1.0]], 0, r"labels are torch.int64 of shape \(\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(x: object, y: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_arrays(x, y)  # type: ignore[arg-type]


class Items(Dataset[object]):
    def __init__(self, items: list[object], classes: list[str] | None = None) -> None:
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> object:
        return self.items[i]


class Stream(IterableDataset[object]):
    def __iter__(self) -> Iterator[object]:
        return iter([(torch.zeros(2), 0)])


def test_a_dataset_is_read_in_order() -> None:
    x, y = torch.randn(5, 2), torch.tensor([0, 1, 2, 1, 0])
    examples = from_dataset(TensorDataset(x, y))
    assert torch.equal(examples.x, x)
    assert torch.equal(examples.y, y)
    assert from_dataset(Items([(x[0], 0), (x[1], 1)], ["cat", "dog"])).classes == ("cat", "dog")
    assert from_dataset(Items([(x[0], 0), [x[1], 1]], ["cat", "dog"]), classes=("p", "q")).classes == ("p", "q")


def test_image_objects_become_channels_first() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    colour = from_dataset(Items([(Image.fromarray(pixels), 0), (Image.fromarray(pixels), np.int64(1))]))
    assert colour.x.dtype == torch.uint8
    np.testing.assert_array_equal(colour.x[0].numpy(), pixels.transpose(2, 0, 1))
    grey = from_dataset(Items([(Image.fromarray(pixels[..., 0]), torch.tensor(0))]))
    np.testing.assert_array_equal(grey.x[0, 0].numpy(), pixels[..., 0])


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Stream(), "has no length"),
        (Items([]), "is empty"),
        (Items([(torch.zeros(2), 0), torch.zeros(2)]), "1 of 2 items are not"),
        (Items([{"image": torch.zeros(2), "label": 0}]), "1 of 1 items are not"),
        (Items([(torch.zeros(2), 0), (torch.zeros(3), 1)]), "cannot be stacked"),
        (Items([(torch.zeros(2), 0), (torch.zeros(2), 1.5)]), "label 1.5 is not a whole number"),
        (Items([(torch.zeros(2), torch.tensor(0.5))]), "is not a whole number"),
        (Items([(torch.zeros(2), "cat")]), "cannot be stacked"),
        (Items([(torch.zeros(2), None)]), "cannot be stacked"),
        (Items([(torch.zeros(2), -1)]), "run from -1"),
        (Items([(torch.full((2,), torch.nan), 0)]), "NaN"),
        (Items([(torch.zeros(2), 2)], ["cat", "dog"]), "with 2 classes"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(dataset: Dataset[object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_dataset(dataset)


def test_an_error_of_the_dataset_itself_is_not_hidden() -> None:
    class Broken(Items):
        def __getitem__(self, i: int) -> object:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        from_dataset(Broken([1]))
