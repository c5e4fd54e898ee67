"""The values that travel through the house: signals of a bank of models, and what an attack gets to see.

Shapes: N examples, R models, Q queries per example, Z population examples, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from membrane.core.errors import DataError, raise_all

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Signals:
    """What models say about examples: a few numbers instead of C logits, enough for the black-box attacks.

    Every signal has the same shape: (N, Q) for one model, (R, N, Q) for a bank.

    Args:
        loss: Cross-entropy of the label, nats, 0 or more; **members lower**.
        rescaled_logit: log(p_y / (1 - p_y)) as z_y - logsumexp of the others, any real; members higher.
        margin: z_y minus the largest other logit, any real; members higher.
        entropy: Of the prediction, nats, 0 to log C; members lower. Does not look at the label.
        modified_entropy: Song & Mittal 2021 (arXiv:2003.10595), 0 or more; members lower.
        correct: 1.0 where the prediction is the label, else 0.0; members higher.
        readings: What else was read off the models, by key: (N, K) or (R, N, K), K of each its own.
    """

    loss: Floats
    rescaled_logit: Floats
    margin: Floats
    entropy: Floats
    modified_entropy: Floats
    correct: Floats
    readings: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {name: self[name].shape for name in SIGNAL_KINDS}
        if len(set(shapes.values())) != 1:
            raise DataError(f"signals of one bank must have one shape; got {shapes}.")
        raise_all(
            (f"reading {key} has shape {values.shape}; of this bank it must be {(*self.shape[:-1], 'K')}."
             for key, values in self.readings.items() if values.shape[:-1] != self.shape[:-1]),
            DataError,
        )  # fmt: skip

    def __getitem__(self, kind: str) -> Floats:
        """A signal by its name, or a reading by its key.

        Raises:
            DataError: If that was not read off the models.
        """
        if kind in SIGNAL_KINDS:
            values: Floats = getattr(self, kind)
            return values
        if kind not in self.readings:
            there = ", ".join((*SIGNAL_KINDS, *self.readings))
            raise DataError(f"{kind} was not read off the models; there are {there}. Ask for it when they are made.")
        return self.readings[kind]

    @staticmethod
    def of(signals: Mapping[str, Floats], readings: Mapping[str, Floats] | None = None) -> Signals:
        """From the six signals by name, and readings by key."""
        return Signals(**{name: signals[name] for name in SIGNAL_KINDS}, readings=readings or {})

    @property
    def shape(self) -> tuple[int, ...]:
        """Common shape of the signals."""
        return self.loss.shape

    def map(self, change: Callable[[Floats], Floats]) -> Signals:
        """All of it with ``change`` applied to every array (a selection or a reordering of models or examples)."""
        signals = {name: change(values) for name, values in self.arrays().items()}
        return Signals.of(signals, {key: change(values) for key, values in self.readings.items()})

    @staticmethod
    def stack(models: Sequence[Signals]) -> Signals:
        """Bank (R, N, Q) from R models' signals (N, Q)."""
        stacked = {kind: np.array([one[kind] for one in models]) for kind in (*SIGNAL_KINDS, *models[0].readings)}
        return Signals.of(stacked, {key: stacked[key] for key in models[0].readings})

    def arrays(self) -> dict[str, Floats]:
        """The signals by name, for storing; readings are stored apart."""
        return {name: self[name] for name in SIGNAL_KINDS}


SIGNAL_KINDS: tuple[str, ...] = tuple(one.name for one in dataclasses.fields(Signals) if one.name != "readings")


@dataclass(frozen=True)
class Observation:
    """All that a passive attack sees. There is no field that says who is a member of the target.

    Args:
        target: (N, Q), the model under attack.
        reference: (R', N, Q), models of the attacker's with known membership.
        in_reference: (R', N), True where the example was in that reference's training set.
        labels: (N,) int64, as the defender trained on them (a mislabelled canary's wrong label).
        population: (Z, Q), the target on examples in nobody's training set; Z may be 0.
        population_reference: (R', Z, Q), the references on the same.
    """

    target: Signals
    reference: Signals
    in_reference: Bools
    labels: Ints
    population: Signals
    population_reference: Signals

    def __post_init__(self) -> None:
        n, q = self.target.shape
        r = self.in_reference.shape[0]
        z = self.population.shape[0]
        expected = {
            "reference": (self.reference.shape, (r, n, q)),
            "in_reference": (self.in_reference.shape, (r, n)),
            "labels": (self.labels.shape, (n,)),
            "population": (self.population.shape, (z, q)),
            "population_reference": (self.population_reference.shape, (r, z, q)),
        }
        raise_all(
            (f"{name} has shape {got}; with this target it must be {want}." for name, (got, want) in expected.items()
             if got != want),
            DataError,
        )  # fmt: skip

    @property
    def n_in(self) -> Ints:
        """(N,) number of references that trained on each example."""
        n: Ints = self.in_reference.sum(0, dtype=np.int64)
        return n

    @property
    def n_out(self) -> Ints:
        """(N,) number of references that did not."""
        n: Ints = (~self.in_reference).sum(0, dtype=np.int64)
        return n
