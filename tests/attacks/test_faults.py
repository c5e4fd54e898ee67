"""Faults planted in the scoring code, one at a time: each must turn a question red.

A question that no fault can fail asks nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from membrane.attacks import ATTACKS, Attack, references, rmia_offline
from membrane.attacks.references import Array, Moments
from membrane.core.errors import MembraneError
from membrane.core.values import Bools, Floats, Observation
from tests.attacks import questions
from tests.attacks.bank import draw_bank
from tests.attacks.rows import ATTACK_ROWS, Row

RED = (AssertionError, MembraneError, RuntimeWarning, pytest.fail.Exception)
Plant = Callable[[pytest.MonkeyPatch], None]
Question = Callable[[Attack], None]
Score = Callable[[Any, Observation], Any]

sound_moments, sound_share = Moments.of, rmia_offline.share_beaten


@dataclass(frozen=True)
class Fault:
    """What is broken, in which attack, how, and the question that must see it."""

    what: str
    attack: Attack
    plant: Plant
    question: Question

    def __str__(self) -> str:
        return f"{self.attack.name}: {self.what}"


def patched(owner: Any, name: str, broken: Any) -> Plant:  # noqa: ANN401
    """Replace an attribute of a class or module."""
    return lambda patch: patch.setattr(owner, name, broken)


def scoring(name: str, change: Callable[[Score, Any, Observation], Any]) -> Plant:
    """Replace ``score`` of an attack; ``change`` gets the sound one first."""
    cls = ATTACKS.entry(name)
    sound = cls.score
    return patched(cls, "score", lambda attack, seen: change(sound, attack, seen))


def row_of(name: str, **settings: object) -> Row:
    return next(row for row in ATTACK_ROWS if row.name == name and row.settings == settings)


def formula(name: str, **settings: object) -> tuple[Attack, Question]:
    """An attack of the table and the question whether it equals its slow formula."""
    row = row_of(name, **settings)
    return row.attack, lambda attack: questions.equals_slow_formula(attack, row.slow)


def negated(sound: Score, attack: Attack, seen: Observation) -> Array:
    return -sound(attack, seen)


def swapped(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, dataclasses.replace(seen, in_reference=~seen.in_reference))


def two_sided(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) ** 2


def by_place(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) + np.arange(len(seen.labels))


def by_entropy(sound: Score, attack: Attack, seen: Observation) -> Array:
    return sound(attack, seen) - 1e-9 * seen.target.entropy[:, 0]


def std_with_n(self: Moments, per_example: bool, least: float) -> Array:
    if per_example:
        return np.maximum(np.sqrt(self.squares / self.count), least)
    return np.maximum(np.sqrt(self.squares.sum(axis=0) / self.count.sum()), least)[None]


def uncentred(values: Floats, chosen: Bools) -> Moments:
    sound, marked = sound_moments(values, chosen), np.broadcast_to(chosen[..., None], values.shape)
    squares = np.where(marked, (values - values[marked].mean()) ** 2, 0).sum(axis=0)
    return Moments(sound.count, sound.mean, squares)


def std_of_in_models(sound: Score, attack: Attack, seen: Observation) -> Array:
    std = Moments.of(seen.reference.rescaled_logit, seen.in_reference).std(per_example=False, least=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moments, "std", lambda *_: std)
        return sound(attack, seen)


def mean_of_logs(values: Floats, chosen: Bools) -> Array:
    return np.where(chosen[..., None], values, 0).sum(axis=0) / chosen.sum(axis=0)[:, None]


def log_of_mean(values: Floats, chosen: Bools) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.where(chosen[..., None], np.exp(values), 0).sum(axis=0) / chosen.sum(axis=0)[:, None])


def strictly_beaten(log_x: Array, log_z: Array, gamma: float) -> Array:
    return sound_share(np.nextafter(log_x, -np.inf), log_z, gamma)


def not_converted(self: Attack, loss: Floats, out: Bools) -> Array:
    return references.log_mean_exp(-loss, out)


def lira_faults(name: str) -> list[Fault]:
    (attack, question), (single, of_single) = formula(name), formula(name, variance="per_example")
    return [
        Fault("n instead of n - 1", attack, patched(Moments, "std", std_with_n), question),
        Fault("n instead of n - 1, per example", single, patched(Moments, "std", std_with_n), of_single),
        Fault("pooled about one mean", attack, patched(Moments, "of", staticmethod(uncentred)), question),
        Fault("few models, one variance each", attack, patched(references, "MANY_MODELS", 2), question),
    ]


def rmia_fault(what: str, name: str, broken: Any, question: Question | None = None, **settings: object) -> Fault:  # noqa: ANN401
    attack, equals = formula("rmia_offline", **settings)
    return Fault(what, attack, patched(rmia_offline, name, broken), question or equals)


FAULTS = [
    *(
        Fault("sign dropped", row.attack, scoring(row.name, negated),
              lambda attack: questions.finds_planted_leak(attack, 0.5))
        for row in ATTACK_ROWS
    ),
    # The midpoint and online RMIA treat IN and OUT alike: nothing to swap there.
    *(
        Fault("IN and OUT swapped", formula(name)[0], scoring(name, swapped), formula(name)[1])
        for name in ("reference", "lira", "lira_offline", "rmia_offline")
    ),
    *lira_faults("lira"),
    *lira_faults("lira_offline"),
    Fault("IN's variance for OUT", row_of("lira").attack, scoring("lira", std_of_in_models), formula("lira")[1]),
    Fault("two-sided", row_of("lira_offline").attack, scoring("lira_offline", two_sided), questions.orders_huge_logits),
    rmia_fault("z beaten strictly", "share_beaten", strictly_beaten, questions.counts_equal_ratios_as_beaten),
    rmia_fault("mean of logarithms", "log_mean_exp", mean_of_logs),
    rmia_fault("probabilities underflow", "log_mean_exp", log_of_mean, questions.bears_extreme_references,
               gamma=2.0, a=1.0),
    rmia_fault("gamma upside down", "share_beaten", lambda x, z, gamma: sound_share(x, z, 1 / gamma), gamma=2.0, a=1.0),
    Fault("P(z) not converted", row_of("rmia").attack,
          patched(rmia_offline.OfflineRMIA, "log_p_from_out", not_converted), formula("rmia")[1]),
    Fault("looks at the place", row_of("loss").attack, scoring("loss", by_place), questions.follows_examples),
    Fault("reads an undeclared signal", row_of("loss").attack, scoring("loss", by_entropy),
          questions.reads_only_what_it_declares),
    Fault("NaN let through", row_of("lira").attack, patched(Attack, "_check", lambda *_: None),
          questions.refuses_what_is_not_finite),
    *(
        Fault("needs not checked", row_of(name).attack, patched(Attack, "missing", lambda *_: []),
              questions.says_what_is_missing)
        for name in ("midpoint", "lira", "rmia_offline")
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_turns_a_question_red(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.question(fault.attack)
    fault.plant(monkeypatch)
    with pytest.raises(RED):
        fault.question(fault.attack)


def test_a_partner_that_is_kept_gives_the_label_away() -> None:
    """With nothing leaking at all: the counts tell members from non-members, and LiRA drifts off one half."""
    assert questions.pooled_auc(lambda seen: -seen.n_in, draw_bank(7, 0.0), keep_partner=True) == 1.0
    with pytest.raises(AssertionError, match="where nothing leaks"):
        questions.finds_nothing_where_nothing_is(row_of("lira").attack, keep_partner=True)
