"""Models that a defense trains for one training: a kill costs the one at work, progress counts them, bits stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from membrane.core import Store
from membrane.defenses import DMP, SELENA, soft_labels
from membrane.training import Defense, Recipe, Trained, fit, train_fleet
from membrane.training.parts import Parts
from tests.defenses.questions import HOLDOUT, MEMBERS, recipe_with
from tests.training.jobs import bank_bits, small_recipe, task, weight_bits


def test_parts_are_made_in_order_kept_by_name_and_counted() -> None:
    told: list[tuple[int, int]] = []
    kept: dict[str, torch.Tensor] = {}
    made: list[int] = []

    def keep(name: str, make):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return kept.setdefault(name, kept[name] if name in kept else make())

    def make(i: int) -> torch.Tensor:
        made.append(i)
        return torch.tensor(i)

    parts = Parts(keep, lambda done, total: told.append((done, total)))
    for _ in range(2):
        assert [int(one) for one in parts.each(["a", "b", "c"], make)] == [0, 1, 2]
    assert made == [0, 1, 2], "the second time they are found"
    assert told == 2 * [(1, 3), (2, 3), (3, 3)]


class KilledError(BaseException):
    """As a signal would."""


@pytest.mark.parametrize("kill", [1, 2, 4])
def test_a_killed_split_goes_on_where_it_was_and_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    plan, trainings = small_recipe(defense=SELENA(5, 2), epochs=2), 0

    def counted(*args, **kwargs) -> Trained:  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN003
        nonlocal trainings
        if trainings == kill:
            raise KilledError
        trainings += 1
        return fit(*args, **kwargs)

    expected = train_fleet(plan, task(), Store(tmp_path / "whole"), 0, rows=[0])
    monkeypatch.setattr(soft_labels, "fit", counted)
    store = Store(tmp_path / "killed")
    with pytest.raises(KilledError):
        train_fleet(plan, task(), store, 0, rows=[0])
    assert len(list(store.keys("part"))) == kill
    kill_at, kill, trainings = kill, -1, 0
    bank = train_fleet(plan, task(), store, 0, rows=[0])
    assert trainings == 5 - kill_at, "what was finished is not trained again"
    assert bank_bits(bank) == bank_bits(expected)


@pytest.mark.parametrize(("defense", "parts"), [(SELENA(4, 1), 4), (DMP(), 1), (Defense(), 0)])
def test_progress_counts_the_models_that_come_before(defense: Defense, parts: int) -> None:
    told: list[tuple[int, int]] = []
    plan = Recipe(**{**vars(recipe_with(defense)), "epochs": 3})
    fit(plan, MEMBERS, HOLDOUT, 0, on_epoch=lambda done, total: told.append((done, total)))
    before = [(3 * i, 3 * (parts + 1)) for i in range(1, parts + 1)]
    assert told == before + [(3 * parts + e, 3 * (parts + 1)) for e in (1, 2, 3)]


def test_a_kept_teacher_teaches_as_a_new_one() -> None:
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, make):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if name not in kept:
            kept[name] = make()
        return kept[name]

    plan = Recipe(**{**vars(recipe_with(DMP())), "epochs": 2})
    bits = [weight_bits(fit(plan, MEMBERS, HOLDOUT, 0, keep=keep).model) for _ in range(2)]
    assert bits[0] == bits[1] == weight_bits(fit(plan, MEMBERS, HOLDOUT, 0).model)
    assert list(kept) == ["answers of the teacher"]
