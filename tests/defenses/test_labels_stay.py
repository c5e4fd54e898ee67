"""Defenses that rewrite answers and keep labels: attacks on scores find less, attacks on labels find the same."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from membrane.attacks import Entropy, LabelAugmented, LabelBoundary, LabelNoise
from membrane.core.generators import torch_generator
from membrane.data import Digits, Examples
from membrane.defenses import Defense, HAMPOutput, MemGuard
from membrane.models import MLP, Answers
from membrane.training import Recipe, Trained, fit
from membrane.verbs import audit_model

N, N_WRONG = 60, 15
ON_LABELS = (LabelAugmented("rotations", 2), LabelNoise(copies=10, noise=0.1), LabelBoundary(budget=100))
FEWER = (LabelAugmented("rotations", 1),)  # MemGuard takes hundreds of times as long to answer


@functools.cache
def data() -> tuple[Examples, Examples, Examples]:
    """Members and as many others, some of both under wrong labels; holdout."""
    splits = Digits().load()
    wrong = (torch.arange(2 * N) % N < N_WRONG) * (1 + torch.randint(9, (2 * N,), generator=torch_generator(3)))
    both = splits.train[: 2 * N].relabelled((splits.train.y[: 2 * N] + wrong) % 10)
    return both[:N], both[N:], splits.train[2 * N : 2 * N + 100]


@functools.cache
def trained() -> Trained:
    members, _, holdout = data()
    return fit(Recipe(MLP((64,)), epochs=40, batch_size=20, lr=0.1, keep=2), members, holdout, 0)


def released(defense: Defense) -> nn.Module:
    return defense.release(defense.finish(trained(), torch_generator(1)).model)


def areas(model: nn.Module, attacks: tuple[object, ...]) -> dict[str, float]:
    members, others, _ = data()
    found = audit_model(model, members, others, attacks=attacks)  # type: ignore[arg-type]
    of_all = found.results["entries"][0]["slices"]["population"]["attacks"]
    return {name: one["auc"]["value"] for name, one in of_all.items()}


@pytest.mark.parametrize(
    ("defense", "on_labels"),
    [(HAMPOutput(), ON_LABELS), pytest.param(MemGuard(epochs=100, lr=0.05), FEWER, marks=pytest.mark.slow)],
    ids=["hamp_output", "memguard"],
)
def test_scores_are_hidden_and_labels_are_not(defense: Defense, on_labels: tuple[object, ...]) -> None:
    plain, hidden = (areas(released(one), (Entropy(), *on_labels)) for one in (Defense(), defense))
    assert hidden.pop("entropy") < plain.pop("entropy") - 0.1
    assert hidden == plain
    assert min(plain.values()) > 0.6


def test_whoever_gets_labels_alone_finds_the_same() -> None:
    model = trained().model.eval()
    only = Answers(lambda x: model(x).argmax(1), "labels", n_classes=10)
    members, others, _ = data()
    found = audit_model(only, members, others, attacks=ON_LABELS)
    assert {one["name"]: (one["threat_model"], one["queries"]) for one in found.results["attacks"]} == {
        "label_augmented": ("labels", 5),
        "label_noise": ("labels", 11),
        "label_boundary": ("labels", 100),
    }
    assert areas(only, ON_LABELS) == areas(model, ON_LABELS)
