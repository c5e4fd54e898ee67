from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import membrane
from membrane.core import MembraneError
from membrane.regions import Trail
from tests.small import task, trained


def datasets() -> tuple[TensorDataset, TensorDataset]:
    return tuple(TensorDataset(part.x.float() / 255, part.y) for part in (task().members(0), task().holdout))  # type: ignore[return-value]


def own_trail() -> Trail:
    trail = copy.deepcopy(trained().trail)
    trail.released = None
    return trail


@pytest.mark.slow
def test_datasets_arrays_and_examples_give_the_same_plan() -> None:
    members, holdout = task().members(0), task().holdout
    forms = [
        (members, holdout),
        datasets(),
        tuple((part.x.float().numpy() / 255, part.y.numpy()) for part in (members, holdout)),
    ]
    plans = [
        membrane.protect(trained().model, own_trail(), *form, membrane.Budget(0.05), max_candidates=24).plan
        for form in forms
    ]
    assert plans[0].stretches
    assert plans[0] == plans[1] == plans[2]


def test_a_given_plan_needs_no_holdout() -> None:
    plan = membrane.Plan((membrane.Stretch("stage3", 1, 3),))
    result = membrane.protect(trained().model, own_trail(), datasets()[0], plan=plan)
    assert result.plan == plan
    assert result.choice is None
    assert not torch.equal(result.model.get_submodule("stage3")[0].conv1.weight, trained().model.stage3[0].conv1.weight)  # type: ignore[index, union-attr]


def test_locate_names_every_region() -> None:
    risk_map = membrane.locate(trained().model, trained().trail, *datasets())
    assert [region.name for region in risk_map.regions] == ["stem", "stage1", "stage2", "stage3", "head"]
    assert all(region.random_channels for region in risk_map.regions)


class Tuple(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"holdout": None}, "needs a holdout"),
        ({"holdout": "overlap"}, "share 500 identical"),
        ({"members": "few"}, "needs 500 members"),
        ({"members": "loader"}, r"pass its \.dataset"),
        ({"members": "nan"}, "NaN"),
        ({"members": "labels"}, "labels run from"),
        ({"model": Tuple()}, "must return logits"),
        ({"plan": membrane.Plan((membrane.Stretch("stagge3", 1, 3),))}, "Did you mean 'stage3'"),
        ({"plan": membrane.Plan((membrane.Stretch("stage3", 1, 99),))}, "nearest window"),
    ],
)
def test_bad_input_says_what_to_do(change: dict[str, object], words: str) -> None:
    members, holdout = datasets()
    x, y = members.tensors
    spoilt = {
        "overlap": members,
        "few": TensorDataset(x[:100], y[:100]),
        "loader": DataLoader(members),
        "nan": TensorDataset(torch.where(x > 0.9, torch.nan, x), y),
        "labels": TensorDataset(x, y + 7),
    }
    arguments = {"model": trained().model, "members": members, "holdout": holdout}
    arguments |= {name: spoilt.get(value, value) if isinstance(value, str) else value for name, value in change.items()}  # type: ignore[dict-item]
    with pytest.raises(MembraneError, match=words):
        membrane.protect(trail=own_trail(), **arguments)  # type: ignore[arg-type]


def test_a_snapshot_that_was_damaged_on_disk_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    own_trail().save(tmp_path)
    path = tmp_path / "trail.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MembraneError, match="truncated or damaged"):
        Trail.load(tmp_path)


def test_labels_of_a_split_without_the_last_class_still_fit() -> None:
    members, holdout = datasets()
    x, y = holdout.tensors
    without_nines = TensorDataset(x, torch.where(y == 9, 0, y))
    result = membrane.protect(trained().model, own_trail(), members, without_nines, max_candidates=22)
    assert result.risk_map is not None
    assert np.isfinite(result.risk_map.accuracy)
