from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from membrane.core.errors import DataError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import Digits, Examples, Splits, Task, complementary_pairs, make_task, without_pair
from membrane.data.canaries import CANARIES
from membrane.metrics import auc


def splits(n_train: int = 60, n_test: int = 20, n_classes: int = 3) -> Splits:
    x = torch.randn(n_train + n_test, 4, generator=torch.Generator().manual_seed(0))
    whole = Examples(x, torch.arange(len(x)) % n_classes, tuple("abcdefghij"[:n_classes]))
    return Splits(whole[:n_train], whole[n_train:])


def task(**changes: object) -> Task:
    settings = {"n_models": 4, "pool": 40, "holdout": 10, "canaries": 5, "seed": 0}
    return make_task(splits(), **{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_models", "n_examples"), [(2, 2), (8, 100), (6, 101)])
def test_each_example_is_in_exactly_one_model_of_each_pair(n_models: int, n_examples: int) -> None:
    members = complementary_pairs(n_models, n_examples, torch_generator(0))
    assert members.shape == (n_models, n_examples)
    np.testing.assert_array_equal(members[0::2].astype(int) + members[1::2], 1)
    assert set(members[0::2].sum(1)) == {n_examples // 2}
    if n_models > 2 and n_examples > 2:
        assert (members[0] != members[2]).any(), "pairs are drawn independently"


def test_the_in_count_says_nothing_without_the_partner_and_everything_with_it() -> None:
    members = complementary_pairs(8, 60, torch_generator(1))
    without_partner = [members[without_pair(row, 8)].sum(0) for row in range(8)]
    assert {count for counts in without_partner for count in counts} == {3}
    assert auc(np.concatenate(without_partner), members.ravel()) == 0.5
    with_partner = np.concatenate([np.delete(members, row, axis=0).sum(0) for row in range(8)])
    assert auc(with_partner, members.ravel()) == 0.0


@pytest.mark.parametrize("target", range(6))
def test_target_and_partner_are_no_references(target: int) -> None:
    rows = without_pair(target, 6)
    assert len(rows) == 4
    assert not {target, target ^ 1} & set(rows.tolist())


@pytest.mark.parametrize(("n_models", "n_examples"), [(0, 10), (1, 10), (3, 10), (-2, 10), (4, 1), (4, 0)])
def test_pairs_of_nothing_are_refused(n_models: int, n_examples: int) -> None:
    with pytest.raises(SettingError, match="there are"):
        complementary_pairs(n_models, n_examples, torch_generator(0))


def test_a_task_is_made_of_disjoint_parts_of_the_right_size() -> None:
    made = task()
    assert [len(part) for part in (made.pool, made.holdout, made.test)] == [40, 10, 20]
    rows = [{row.numpy().tobytes() for row in part.x} for part in (made.pool, made.holdout, made.test)]
    assert len(rows[0] | rows[1] | rows[2]) == 70
    assert made.membership.shape == (4, 40)
    assert len(made.canaries) == 5
    assert made.holdout is not None


def test_members_are_the_pool_rows_of_one_model_with_canary_labels() -> None:
    made = task()
    members = made.members(2)
    assert torch.equal(members.x, made.pool.x[torch.from_numpy(made.membership[2])])
    assert torch.equal(members.y, made.pool.y[torch.from_numpy(made.membership[2])])
    true = {
        row.numpy().tobytes(): int(label) for row, label in zip(*dataclasses.astuple(splits().train)[:2], strict=True)
    }
    wrong = [i for i, row in enumerate(made.pool.x) if true[row.numpy().tobytes()] != int(made.pool.y[i])]
    assert wrong == made.canaries.tolist()


def test_the_seed_decides_everything_and_canaries_nothing_else() -> None:
    first, again, other, clean = task(), task(), task(seed=1), task(canaries=0)
    assert first.checksum() == again.checksum() != other.checksum()
    np.testing.assert_array_equal(first.membership, again.membership)
    assert (first.membership != other.membership).any()
    np.testing.assert_array_equal(first.membership, clean.membership)
    assert torch.equal(first.pool.x, clean.pool.x)
    assert torch.equal(first.holdout.x, clean.holdout.x)
    assert first.checksum() != clean.checksum()


def test_draws_are_pinned() -> None:
    """Stored trainings are found by these."""
    made = task()
    assert made.canaries.tolist() == [6, 7, 8, 10, 35]
    assert np.flatnonzero(made.membership[0])[:8].tolist() == [0, 1, 2, 3, 6, 7, 8, 11]
    assert made.checksum() == "ca81242c-132106b8-e9ad7706"


def test_no_holdout_is_said_so() -> None:
    made = task(holdout=0)
    assert made.holdout is None
    assert made.n_holdout == 0


def test_too_little_data_is_refused_with_all_mistakes_at_once() -> None:
    with pytest.raises(DataError, match="a pool of 55 and a holdout of 10 need 65 training examples; there are 60"):
        task(pool=55)
    with pytest.raises(DataError, match="41 canaries do not fit into a pool of 40"):
        task(canaries=41)
    with pytest.raises(DataError, match=r"(?s)3 mistakes.*pool is 1.*holdout is -1.*canaries is -2"):
        task(pool=1, holdout=-1, canaries=-2)
    with pytest.raises(SettingError, match="there are 3 models"):
        task(n_models=3)


def test_splits_of_different_kind_are_refused() -> None:
    train, test = splits()
    other = Examples(test.x[:, :3].contiguous(), test.y, ("a", "b", "z"))
    with pytest.raises(DataError, match=r"(?s)2 mistakes.*train and test split differ"):
        make_task(Splits(train, other), n_models=4, pool=40, holdout=10, canaries=5, seed=0)


def test_copies_are_refused_or_allowed_and_noted() -> None:
    train, _ = splits()
    settings = {"n_models": 4, "pool": 50, "holdout": 10, "canaries": 5, "seed": 0}
    with pytest.raises(DataError, match=r"(?s)pool and test share \d+ identical.*test and holdout share \d+ identical"):
        make_task(Splits(train, train[:30]), **settings)  # type: ignore[arg-type]
    noted = make_task(Splits(train, train[:30]), **settings, allow_duplicates=True).notes  # type: ignore[arg-type]
    assert [note.split(" inputs")[0] for note in noted] == [
        "pool and test share 25 identical",
        "test and holdout share 5 identical",
        "The canaries are of the kind mislabelled.",
    ]


def test_copies_inside_the_pool_are_refused_or_allowed_and_change_no_draw() -> None:
    train, test = splits()
    twice = Splits(Examples(torch.cat([train.x[:30]] * 2), train.y, train.classes), test)
    settings = {"n_models": 4, "pool": 60, "holdout": 0, "canaries": 5, "seed": 0}
    with pytest.raises(DataError, match=r"pool holds 30 identical inputs, the first at .*allow_duplicates"):
        make_task(twice, **settings)  # type: ignore[arg-type]
    allowed = make_task(twice, **settings, allow_duplicates=True)  # type: ignore[arg-type]
    assert allowed.canaries.tolist() == make_task(Splits(train, test), **settings).canaries.tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CANARIES)
def test_any_kind_of_canary_can_be_planted_and_is_no_duplicate(kind: str) -> None:
    made, plain = task(canary_kind=kind, holdout=0), task(canaries=0, holdout=0)
    others = np.delete(np.arange(40), made.canaries)
    assert torch.equal(made.pool.x[others], plain.pool.x[others])
    assert torch.equal(made.pool.y[others], plain.pool.y[others])
    assert made.notes == (f"The canaries are of the kind {kind}.",)
    assert plain.notes == ()
    np.testing.assert_array_equal(made.membership, plain.membership)
    if kind != "mislabelled":
        assert made.checksum() != task(holdout=0).checksum()


def test_digits_are_real_whole_and_always_the_same() -> None:
    train, test = Digits().load()
    assert (len(train), len(test)) == (1397, 400)
    assert train.x.shape[1:] == (1, 8, 8)
    assert train.x.dtype == torch.uint8
    assert int(train.x.max()) == 255
    assert len({row.numpy().tobytes() for row in torch.cat([train.x, test.x])}) == 1797
    assert torch.cat([train.y, test.y]).bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert test.checksum() == "1ea66326a6d6afd6"
    assert len(Digits(test=100).load().test) == 100


@pytest.mark.parametrize("n", [0, -1, 1797])
def test_a_part_of_digits_without_images_is_refused(n: int) -> None:
    with pytest.raises(SettingError, match=f"test is {n}"):
        Digits(test=n)
