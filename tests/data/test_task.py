from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from membrane.core.errors import DataError, SettingError
from membrane.core.generators import torch_generator
from membrane.data import SOURCES, Digits, Examples, Splits, Task, complementary_pairs, make_task, without_pair
from membrane.data.canaries import mislabelled
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


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_canaries_always_carry_a_wrong_label(n_classes: int) -> None:
    pool = splits(n_classes=n_classes).train
    for seed in range(20):
        planted = mislabelled(pool, 17, torch_generator(seed))
        assert planted.index.shape == (17,)
        assert (np.diff(planted.index) > 0).all()
        changed = (planted.examples.y != pool.y).numpy()
        np.testing.assert_array_equal(np.flatnonzero(changed), planted.index)
        assert torch.equal(planted.examples.x, pool.x)


def test_every_wrong_label_is_as_likely() -> None:
    pool = splits(n_train=6_000, n_classes=4).train
    planted = mislabelled(pool, 6_000, torch_generator(0))
    shift = ((planted.examples.y - pool.y) % 4).bincount(minlength=4)
    assert shift[0] == 0
    assert (shift[1:] - 2_000).abs().max() < 5 * (6_000 * (1 / 3) * (2 / 3)) ** 0.5


def test_impossible_canaries_are_refused() -> None:
    pool = splits().train
    assert len(mislabelled(pool, 0, torch_generator(0)).index) == 0
    for n in (-1, 61):
        with pytest.raises(DataError, match=f"{n} canaries do not fit"):
            mislabelled(pool, n, torch_generator(0))
    with pytest.raises(DataError, match="second class"):
        mislabelled(Examples(pool.x, pool.y * 0, ("a",)), 1, torch_generator(0))


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


def test_overlap_of_train_and_test_is_refused_unless_unchecked() -> None:
    train, _ = splits()
    settings = {"n_models": 4, "pool": 50, "holdout": 10, "canaries": 5, "seed": 0}
    with pytest.raises(DataError, match=r"(?s)pool and test share \d+ identical.*test and holdout share \d+ identical"):
        make_task(Splits(train, train[:30]), **settings)  # type: ignore[arg-type]
    make_task(Splits(train, train[:30]), **settings, check_overlap=False)  # type: ignore[arg-type]


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
