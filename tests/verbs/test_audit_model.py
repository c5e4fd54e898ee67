"""Audit of one finished model: with and without references, and of models that answer in other ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import membrane
from membrane.core.errors import DataError, MembraneError, ModelError, NotEnoughDataError
from membrane.core.generators import torch_generator
from membrane.data import complementary_pairs

N, WIDTH = 300, 40


def examples(seed: int, n: int = N) -> membrane.Examples:
    """Noise with random labels: whatever a network knows of them, it has learnt by heart."""
    generator = torch_generator(seed)
    x = torch.randn(n, WIDTH, generator=generator)
    return membrane.from_arrays(x, torch.randint(0, 3, (n,), generator=generator), ("a", "b", "c"))


def fitted(trained_on: membrane.Examples, seed: int) -> nn.Module:
    """A network that has learnt some examples by heart."""
    model = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=torch_generator(seed)))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(trained_on.x), trained_on.y).backward()
        optimizer.step()
    return model.eval()


MEMBERS, OTHERS, PUBLIC = examples(0), examples(1), examples(2)
TARGET = fitted(MEMBERS, 0)
MEMBERSHIP = complementary_pairs(4, 2 * N, torch_generator(3))


def references() -> list[nn.Module]:
    x, y = torch.cat([MEMBERS.x, OTHERS.x]), torch.cat([MEMBERS.y, OTHERS.y])
    rows = [torch.from_numpy(row) for row in MEMBERSHIP]
    return [fitted(membrane.from_arrays(x[row], y[row]), 10 + i) for i, row in enumerate(rows)]


def areas(found: membrane.Audit) -> dict[str, float]:
    attacks = found.results["entries"][0]["slices"]["population"]["attacks"]
    return {name: one["auc"]["value"] for name, one in attacks.items()}


def test_references_from_elsewhere_feed_the_attacks_that_compare() -> None:
    found = membrane.audit_model(
        TARGET, MEMBERS, OTHERS, references=references(), in_reference=MEMBERSHIP, population=PUBLIC
    )
    assert {"loss", "lira", "rmia", "reference", "midpoint"} <= areas(found).keys()
    assert areas(found)["lira"] > 0.9
    assert not any("tells members by itself" in limit for limit in found.results["limits"])
    assert "lira" not in areas(membrane.audit_model(TARGET, MEMBERS, OTHERS))


def test_references_that_saw_nothing_feed_the_offline_attacks() -> None:
    strangers = [fitted(examples(20 + i), i) for i in range(3)]
    found = areas(membrane.audit_model(TARGET, MEMBERS, OTHERS, references=strangers, population=PUBLIC))
    assert {"lira_offline", "rmia_offline"} <= found.keys()
    assert "lira" not in found


def test_references_that_count_out_the_members_are_pointed_at() -> None:
    seen = np.zeros((4, 2 * N), dtype=bool)
    seen[:2, :N] = True
    limits = membrane.audit_model(TARGET, MEMBERS, OTHERS, references=references(), in_reference=seen).results["limits"]
    assert any("tells members by itself (AUC 1.000)" in limit for limit in limits)


def test_probabilities_are_audited_as_well_as_logits() -> None:
    wrapped = membrane.Answers(nn.Sequential(TARGET, nn.Softmax(1)), "probabilities")
    plain, other = (areas(membrane.audit_model(model, MEMBERS, OTHERS)) for model in (TARGET, wrapped))
    assert other == pytest.approx(plain, abs=1e-3)


def test_labels_alone_leave_the_attacks_on_labels() -> None:
    wrapped = membrane.Answers(lambda x: TARGET(x).argmax(1), "labels", n_classes=3)
    found = membrane.audit_model(wrapped, MEMBERS, OTHERS)
    assert areas(found).keys() == {"correctness"}
    assert areas(found)["correctness"] > 0.7
    assert any("left out, not defeated" in limit for limit in found.results["limits"])
    with pytest.raises(NotEnoughDataError, match="answers with labels only"):
        membrane.audit_model(wrapped, MEMBERS, OTHERS, attacks=["loss"])


def test_rounded_answers_are_pointed_at() -> None:
    rounded = membrane.Answers(lambda x: TARGET(x).softmax(1).round(decimals=1), "probabilities")
    limits = membrane.audit_model(rounded, MEMBERS, OTHERS).results["limits"]
    assert any("the answers are rounded" in limit for limit in limits)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"model": lambda x: x}, ModelError, "wrap it, saying what it returns"),
        ({"model": nn.Sequential(TARGET, nn.Softmax(1))}, ModelError, "returns probabilities"),
        ({"references": [TARGET], "in_reference": np.zeros((2, 2 * N), bool)}, DataError, r"shape \(2, 600\); for 1"),
        ({"references": [TARGET], "in_reference": np.zeros((1, 2 * N))}, DataError, "in_reference is float64"),
        ({"population": examples(1)}, DataError, "share 300"),
        ({"attacks": ["lira"]}, NotEnoughDataError, "IN references per example"),
        ({"non_members": membrane.from_arrays(np.zeros((9, 5), np.float32), np.arange(9) % 3)}, MembraneError, "5"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], kind: type[MembraneError], said: str) -> None:
    with pytest.raises(kind, match=said):
        membrane.audit_model(**{"model": TARGET, "members": MEMBERS, "non_members": OTHERS, **arguments})  # type: ignore[arg-type]


def test_what_references_might_find_is_estimated_from_the_losses_and_labelled_so(tmp_path: Path) -> None:
    found = membrane.audit_model(TARGET, MEMBERS, OTHERS)
    tail = {one["fpr"]: one for one in found.results["entries"][0]["tail"]}
    with torch.inference_mode():
        losses = [nn.functional.cross_entropy(TARGET(part.x), part.y, reduction="none") for part in (MEMBERS, OTHERS)]
    threshold = losses[0].sort(descending=True).values[30]  # 10 % of 300 members lie above it
    assert tail[0.1]["value"] == pytest.approx(float((losses[1] > threshold).double().mean()), abs=0.01)
    assert "needs at least 1000 members" in tail[0.01]["refused"]
    assert "tail" not in found.results["entries"][0]["slices"]["population"]["attacks"]
    page = found.to_html(tmp_path / "page.html").read_text()
    assert "An estimate, not an attack" in page
    wrapped = membrane.Answers(lambda x: TARGET(x).argmax(1), "labels", n_classes=3)
    assert "tail" not in membrane.audit_model(wrapped, MEMBERS, OTHERS).results["entries"][0]


def test_one_model_has_no_rates_of_models_and_lists_only_records_that_stand_out() -> None:
    def small(pool: membrane.Examples) -> np.ndarray:
        return pool.x.flatten(1)[:, 0].numpy() < 0

    found = membrane.audit_model(TARGET, MEMBERS, OTHERS, subgroups={"small": small})
    (entry,) = found.results["entries"]
    assert entry["risk"] is None
    assert all(one["by"] is None and one["caught"] > 0.5 for one in entry["exposed"])
    assert "small" in [one["name"] for one in entry["groups"]["compared"]]
    assert found.results["tier"]["name"] == "no references"
    assert found.results["against"] == []
