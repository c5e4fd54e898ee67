"""The base class checks what comes in and what goes out, so that no attack has to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from membrane.attacks import Attack, LossThreshold, Scores
from membrane.core.errors import ModelError, NotEnoughDataError
from membrane.core.values import Observation
from tests.attacks.bank import LEAK, draw_bank


@dataclass(frozen=True)
class Fixed(Attack):
    name: ClassVar[str] = "fixed"
    source: ClassVar[str] = "this test"
    signals: ClassVar[tuple[str, ...]] = ("loss",)
    min_in_models: ClassVar[int] = 4
    min_population: ClassVar[int] = 121

    scores: Callable[[int], Any] = np.zeros

    def score(self, seen: Observation) -> Scores:
        return self.scores(len(seen.labels))


@dataclass(frozen=True)
class Satisfied(Fixed):
    min_in_models: ClassVar[int] = 0
    min_population: ClassVar[int] = 0


def test_everything_missing_is_said_at_once() -> None:
    with pytest.raises(
        NotEnoughDataError, match=r"(?s)2 mistakes.*needs 4 IN.*there are 3.*needs 121 pop.*there are 120"
    ):
        Fixed()(draw_bank(0, LEAK).observe(0))


def test_what_is_missing_can_be_asked_before_any_model_is_trained() -> None:
    assert LossThreshold().missing(0, 0, 0) == []
    (sentence,) = Fixed().missing(n_in=1, n_out=1, n_population=200)
    assert sentence == (
        "attack 'fixed' needs 4 IN references per example; there are 1. Train more reference models, or leave the "
        "attack out."
    )


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (lambda n: np.zeros(n - 1), r"must return 200 scores; got shape \(199,\)"),
        (lambda n: np.zeros((n, 1)), r"must return 200 scores; got shape \(200, 1\)"),
        (lambda n: 0.0, r"must return 200 scores; got shape \(\)"),
        (lambda n: np.where(np.arange(n) < 3, np.nan, 0.0), "NaN or infinity for 3 of 200"),
        (lambda n: np.where(np.arange(n) < 1, -np.inf, 0.0), "NaN or infinity for 1 of 200"),
    ],
)
def test_scores_that_are_none_are_refused(scores: Callable[[int], Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        Satisfied(scores)(draw_bank(0, LEAK).observe(0))


def test_scores_come_out_as_float64() -> None:
    scores = Satisfied(lambda n: np.ones(n, dtype=np.float32))(draw_bank(0, LEAK).observe(0))
    assert scores.dtype == np.float64
