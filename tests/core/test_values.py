from __future__ import annotations

import numpy as np
import pytest

from membrane.core import SIGNAL_KINDS, DataError, Observation, Signals


def signals(*shape: int, value: float = 0.0) -> Signals:
    return Signals(**{name: np.full(shape, value, dtype=np.float32) for name in SIGNAL_KINDS})


def observation(**changes: object) -> Observation:
    parts = {
        "target": signals(5, 2),
        "reference": signals(3, 5, 2),
        "in_reference": np.array([[True] * 5, [True, False] * 2 + [False], [False] * 5]),
        "labels": np.zeros(5, dtype=np.int64),
        "population": signals(4, 2),
        "population_reference": signals(3, 4, 2),
    }
    return Observation(**{**parts, **changes})  # type: ignore[arg-type]


def test_counts_of_references() -> None:
    seen = observation()
    assert seen.n_in.tolist() == [2, 1, 2, 1, 1]
    assert seen.n_out.tolist() == [1, 2, 1, 2, 2]
    assert seen.n_in.dtype == seen.n_out.dtype == np.int64


def test_no_population_is_fine() -> None:
    assert observation(population=signals(0, 2), population_reference=signals(3, 0, 2)).population.shape == (0, 2)


def test_shapes_that_do_not_fit_are_all_listed() -> None:
    with pytest.raises(DataError, match=r"(?s)2 mistakes.*reference has shape \(3, 4, 2\).*labels has shape \(4,\)"):
        observation(reference=signals(3, 4, 2), labels=np.zeros(4, dtype=np.int64))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("in_reference", np.zeros((3, 4), dtype=bool)),
        ("population_reference", signals(2, 4, 2)),
        ("population", signals(4, 1)),
    ],
)
def test_each_shape_is_checked(name: str, value: object) -> None:
    with pytest.raises(DataError, match=name):
        observation(**{name: value})


def test_signals_of_one_bank_have_one_shape() -> None:
    fields = signals(4, 1).arrays()
    assert list(fields) == list(SIGNAL_KINDS)
    with pytest.raises(DataError, match="one shape"):
        Signals(**{**fields, "margin": np.zeros((3, 1), dtype=np.float32)})


def test_signals_stack_and_map() -> None:
    bank = Signals.stack([signals(4, 1, value=1), signals(4, 1, value=2)])
    assert bank.shape == (2, 4, 1)
    assert bank.map(lambda field: field[1]).margin.tolist() == [[2.0]] * 4
