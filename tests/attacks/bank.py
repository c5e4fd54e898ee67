"""Synthetic banks of models: logits with or without a planted leak, and the signals that follow from them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, logsumexp, xlog1py

from membrane.attacks import Lineup
from membrane.core.values import Bools, Ints, Observation, Signals
from membrane.data.membership import complementary_pairs, without_pair
from tests.attacks.planted_readings import planted_readings

Array = npt.NDArray[np.float64]
N_CLASSES = 10
STRANGERS = np.geomspace(0.01, 12.0, 120)
LEAK = 4.0  # how much training on an example raises its label's logit; rescaled logits of non-members spread over 2


def signals_of(logits: Array, labels: Ints) -> Signals:
    """The six signals of ``logits`` (..., N, Q, C), each by its textbook formula, float64."""
    is_label = np.arange(N_CLASSES) == labels[:, None, None]  # (N, 1, C)
    log_p = log_softmax(logits, axis=-1)
    p, label_logit = np.exp(log_p), np.where(is_label, logits, 0).sum(-1)
    others = np.where(is_label, -np.inf, logits)
    rescaled_logit = label_logit - logsumexp(others, axis=-1)
    loss = np.logaddexp(0, -rescaled_logit)
    wrong = -np.where(is_label, 0, xlog1py(p, -p)).sum(-1)  # minus the sum over wrong classes of p log(1 - p)
    return Signals(
        loss=loss,
        rescaled_logit=rescaled_logit,
        margin=label_logit - others.max(-1),
        entropy=-(p * log_p).sum(-1),
        modified_entropy=-np.expm1(-loss) * loss + wrong,
        correct=(label_logit > others.max(-1)).astype(np.float64),
        readings=planted_readings(loss, labels),
    )


@dataclass(frozen=True)
class Bank:
    """Signals of R models on N examples and Z strangers, with the membership matrix (R, N)."""

    members: Bools
    signals: Signals
    population: Signals
    labels: Ints

    @property
    def lineup(self) -> Lineup:
        """All models, each to play target once."""
        return Lineup(self.signals, self.members, self.labels, self.population)

    def observe(self, target: int, rows: Ints | None = None) -> Observation:
        """What the attacker of model ``target`` sees; ``rows`` are the reference models, the target's pair left out."""
        rows = without_pair(target, len(self.members)) if rows is None else rows
        return Observation(
            target=self.signals.map(lambda values: values[target]),
            reference=self.signals.map(lambda values: values[rows]),
            in_reference=self.members[rows],
            labels=self.labels,
            population=self.population.map(lambda values: values[target]),
            population_reference=self.population.map(lambda values: values[rows]),
        )


@functools.cache
def draw_bank(
    seed: int, leak: float, n_models: int = 8, n_examples: int = 200, n_queries: int = 1, dtype: type = np.float32
) -> Bank:
    """A bank whose models are surer of the examples they trained on by ``leak`` (0: membership changes nothing).

    Examples differ in difficulty, models and queries add noise, the membership matrix is the real one. Arrays are
    read-only: an attack that writes into what it sees fails.
    """
    rng = np.random.default_rng(seed)
    members = complementary_pairs(n_models, n_examples, torch.Generator().manual_seed(seed))
    labels = rng.integers(N_CLASSES, size=n_examples)
    strangers = rng.integers(N_CLASSES, size=120)

    def bank_signals(classes: Ints, is_member: Bools) -> Signals:
        n = len(classes)
        of_example = rng.normal(size=(n, 1, N_CLASSES))
        of_model = rng.normal(scale=0.7, size=(n_models, n, 1, N_CLASSES))
        of_query = rng.normal(scale=0.3, size=(n_models, n, n_queries, N_CLASSES))
        sureness = rng.normal(3.0, 1.5, size=n) + leak * is_member  # (R, N), logit of the label
        is_label = np.arange(N_CLASSES) == classes[:, None, None]
        logits = of_example + of_model + of_query + is_label * sureness[..., None, None]
        return signals_of(logits, classes).map(lambda values: frozen(values.astype(dtype)))

    population = bank_signals(strangers, np.zeros((n_models, len(strangers)), dtype=bool))
    return Bank(frozen(members), bank_signals(labels, members), population, frozen(labels))


@functools.cache
def contrary_bank() -> Bank:
    """Logits near 100 or -100 that agree to the fifth digit, and one model that says the contrary on every other.

    Of each such example the sums over all models are nearly those of that one model alone.
    """
    n_models, n = 8, 64
    rng = np.random.default_rng(13)
    bank = draw_bank(13, 0.0, n_models, n)
    logit = np.where(np.arange(n) % 4 < 2, 100.0, -100.0) + rng.normal(scale=1e-5, size=(n_models, n))
    odd = np.arange(1, n, 2)
    logit[rng.integers(n_models, size=len(odd)), odd] *= -1
    stranger = rng.normal(scale=3.0, size=(n_models, 120))
    stranger[rng.integers(n_models, size=120), np.arange(120)] += 60

    def signals(logits: Array) -> Signals:
        logits = logits[..., None].astype(np.float32)
        loss = np.logaddexp(0, -logits)
        entropy = np.logaddexp(0, -np.abs(logits))
        right = (logits > 0).astype(np.float32)
        read = planted_readings(loss, np.zeros(loss.shape[-2], dtype=np.int64))
        return Signals(loss, logits, logits, entropy, loss, right, read).map(frozen)

    return Bank(bank.members, signals(logit), signals(stranger), bank.labels)


@functools.cache
def saturated_bank() -> Bank:
    """Rescaled logits between 30 and 50: losses of 1e-13 to 1e-22, which only float32 tells from 0."""
    bank = draw_bank(15, LEAK, 8, 60, 2)

    def raised(one: Signals) -> Signals:
        logit = 40 + one.rescaled_logit.astype(np.float64)
        loss = np.log1p(np.exp(-logit))
        return dataclasses.replace(
            one, loss=loss, rescaled_logit=logit, margin=logit, entropy=loss * logit, modified_entropy=loss
        ).map(lambda values: frozen(values.astype(np.float32)))

    return Bank(bank.members, raised(bank.signals), raised(bank.population), bank.labels)


def frozen(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The array, read-only from now on."""
    values.flags.writeable = False
    return values


def uneven_observation(seed: int, n_queries: int = 2) -> Observation:
    """A planted leak seen with unequal numbers of references: 2 to 7 of 9 IN; float64."""
    bank = draw_bank(seed, LEAK, 10, 40, n_queries, np.float64)
    seen = bank.observe(0, np.arange(1, 10))
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(9)[:, None], (1, 40)), axis=0)
    in_reference = order < rng.integers(2, 8, size=40)
    return Observation(
        seen.target, seen.reference, in_reference, seen.labels, seen.population, seen.population_reference
    )


def planted_loss(target: npt.ArrayLike, references: npt.ArrayLike, n_in: int, dtype: type = np.float64) -> Observation:
    """Observation in which example n has loss ``target[n]`` and reference r has loss ``references[r]`` everywhere.

    The first ``n_in`` references are IN for all; The strangers have losses ``STRANGERS`` under the target.
    """

    def signals(loss: Array) -> Signals:
        logit = -loss - np.log(-np.expm1(-loss))  # log(p / (1 - p)) for p = exp(-loss)
        one = {"loss": loss, "rescaled_logit": logit, "margin": logit, "entropy": loss, "modified_entropy": loss}
        read = planted_readings(loss, np.zeros(loss.shape[-2], dtype=np.int64))
        one |= {"correct": loss < 0.7}
        return Signals.of({kind: values.astype(dtype) for kind, values in one.items()}, read)

    loss, of_reference = np.asarray(target, float)[:, None], np.asarray(references, float)[:, None, None]
    n, r = len(loss), len(of_reference)
    return Observation(
        target=signals(loss),
        reference=signals(np.broadcast_to(of_reference, (r, n, 1))),
        in_reference=np.repeat(np.arange(r)[:, None] < n_in, n, axis=1),
        labels=np.zeros(n, dtype=np.int64),
        population=signals(STRANGERS[:, None]),
        population_reference=signals(np.broadcast_to(of_reference, (r, len(STRANGERS), 1))),
    )
