"""Audit of differential privacy with one training: what guesses about many canaries prove about epsilon.

Source: Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", arXiv:2305.08846, black-box,
Algorithm 1: every canary is trained on or not by its own fair coin, everything else always; the highest scores are
guessed to be in, the lowest to be out, as many as was fixed before, and the rest is abstained from. Neighbouring data
sets differ by one example that is added or removed. Where we differ: several attacks and numbers of guesses may be
tried, which then share the error; scores that tie across a cut are not guessed.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from membrane.attacks import Attack
from membrane.core.errors import NotEnoughDataError, SettingError, StoreError, raise_all
from membrane.core.generators import torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.store import Store, read_json, write_json, write_tensors
from membrane.core.values import Bools, Observation, Signals
from membrane.data import Canary, Source, Splits, Task, make_task
from membrane.data.examples import Examples
from membrane.metrics import OneRunAudit, clopper_pearson, guess_membership, one_run_p_value
from membrane.metrics import audit_one_run as audit_guesses
from membrane.metrics.intervals import check_level
from membrane.training import train_fleet
from membrane.training.check import training_mistakes
from membrane.training.engines import Engine, engine_of
from membrane.verbs.observe import choose_attacks, readings_of, refuse_unreadable
from membrane.verbs.privacy import DELTA, LEVEL, facts_of
from membrane.verbs.results import Train, describe_attack, describe_task, settings_of, versions
from membrane.verbs.splits import splits_of

FORMAT = "membrane one-run audit 1"
SHARES = (0.1, 0.3, 1.0)  # few sure guesses prove most where little leaks, many where much does
Scores = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Guessed:
    """One set of guesses and what it proves.

    Args:
        attack: Whose scores were guessed by.
        share: Of the canaries that were to be guessed about.
        audit: What came of it; None if scores tie so that no guess was made.
    """

    attack: str
    share: float
    audit: OneRunAudit | None

    @property
    def epsilon_low(self) -> float:
        """Nats, 0 if nothing is proven."""
        return self.audit.epsilon_low if self.audit else 0.0

    def plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"attack": self.attack, "share": self.share} | (dataclasses.asdict(self.audit) if self.audit else {})


@dataclass(frozen=True)
class OneRun:
    """Results of an audit with one training.

    Args:
        results: JSON-ready; the same for the same seed, data, code and machine.
        scores: (m,) of the canaries by attack; empty for an audit that was read back.
        is_member: (m,) bool, how their coins fell.
    """

    results: dict[str, Any]
    scores: Scores = dataclasses.field(default_factory=dict, repr=False)
    is_member: Bools = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=bool), repr=False)

    @property
    def epsilon_low(self) -> float:
        """Nats; the training is less private than this, or a chance of ``1 - level`` came true. 0 proves nothing."""
        return float(self.results["bound"]["epsilon_low"])

    @property
    def verdict(self) -> list[str]:
        """What was found, in sentences."""
        return [*_verdict(self.results), *self.results["limits"]]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write results.json and, if there are any, scores.safetensors.

        Raises:
            StoreError: If they cannot be written.
        """
        if self.scores:
            coins = {"is_member": self.is_member.astype(np.uint8)}
            write_tensors(Path(folder) / "scores.safetensors", {**self.scores, **coins})
        write_json(Path(folder) / "results.json", self.results)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> OneRun:
        """What ``save`` wrote.

        Raises:
            StoreError: If there are no results or they are of something else.
        """
        path = Path(folder) / "results.json"
        results = read_json(path)
        if not isinstance(results, dict) or results.get("format") != FORMAT:
            raise StoreError(f"{path} holds no audit with one training; name the folder that one was saved to.")
        return OneRun(results)


def audit_one_run(
    train: Train,
    data: Splits | Source | Examples,
    *,
    canaries: int = 1000,
    holdout: int = 0,
    pool: int | None = None,
    canary_kind: str | Canary = "mislabelled",
    allow_duplicates: bool = False,
    attacks: Sequence[str | Attack] = ("loss",),
    shares: Sequence[float] = SHARES,
    delta: float = DELTA,
    level: float = LEVEL,
    out: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str = "Audit with one training",
    progress: Progress = silent,
    engine: str | Mapping[str, Any] | Engine = "in_process",
) -> OneRun:
    """Lower bound on the epsilon of a training pipeline, from one model.

    Attacks, shares, delta and level are fixed before the model is trained. With K attacks and L shares each set of
    guesses is allowed (1 - level) / (K L) of error, so that the best of them may be reported.

    Args:
        train: A recipe; or ``train(members, holdout, generator) -> model``, the user's own loop.
        data: Where pool, holdout and test are drawn from.
        canaries: m; each is in the training set by its own coin.
        holdout: Examples set aside for pipelines that must choose something.
        pool: Examples that the model trains on, but for the canaries that fall out; by default all that are left.
        canary_kind: As in ``audit``.
        allow_duplicates: As in ``audit``.
        attacks: Names or objects; such as need no reference models.
        shares: Of the canaries that are guessed about, half of them to be in, above 0, at most 1.
        delta: Of the (epsilon, delta) that is bounded, 0 to 1 / (2 m).
        level: Confidence (0.95 means 95 %).
        out: Run folder for the results, and for the trained model if there is no ``store``; temporary if not given.
        store: As in ``audit``.
        seed: Decides splits, canaries, coins and training.
        title: Of the results.
        progress: Told how far training is.
        engine: As in ``audit``.

    Raises:
        DataError: If the data do not fit, before anything is trained.
        SettingError: If a setting does not fit, before anything is trained.
        StoreError: If the store cannot be reached or written to, before anything is trained.
        NotEnoughDataError: If an attack needs what one model does not give, before anything is trained.
        TrainingError: If the training diverges.
        OutOfMemoryError: If memory runs out, naming the setting that would fit.
    """
    _refuse(canaries, shares, delta, level)
    kept = None if store is None else Store(store)
    splits = splits_of(data, seed)
    drawn = make_task(
        splits,
        n_models=2,
        pool=len(splits.train) - holdout if pool is None else pool,
        holdout=holdout,
        canaries=canaries,
        seed=seed,
        canary_kind=canary_kind,
        allow_duplicates=allow_duplicates,
    )
    task = flipped(drawn, seed)
    raise_all(training_mistakes(train, task))
    chosen = choose_attacks(attacks, 0, 0, len(task.test))
    refuse_unreadable(chosen, task.pool, task.test)
    settings = {
        "seed": seed,
        "train": settings_of(train),
        "shares": list(shares),
        "delta": delta,
        "level": level,
    }
    made = engine_of(engine)
    made.refuse(train)
    with made.entered(), tempfile.TemporaryDirectory(prefix="membrane-") as folder:
        kept = kept or Store(Path(folder if out is None else out) / "store")
        done = _audited(train, task, chosen, settings, kept, title, progress, made)
    if out is not None:
        done.save(out)
    return done


def flipped(task: Task, seed: int) -> Task:
    """The task for one model, of which each canary is a member by its own fair coin and everything else always."""
    coins = torch.rand(len(task.canaries), generator=torch_generator(seed, "one run", "coins")) < 0.5
    members = np.ones((1, len(task.pool)), dtype=bool)
    members[0, task.canaries] = coins.numpy()
    return dataclasses.replace(task, membership=members)


def guessed(
    scores: Scores, is_member: Bools, shares: Sequence[float] = SHARES, delta: float = DELTA, level: float = LEVEL
) -> list[Guessed]:
    """Every set of guesses, what it proves, the most telling first; together they err with a chance of 1 - level.

    Args:
        scores: (m,) by attack, made without knowledge of ``is_member``.
        is_member: (m,) bool, drawn by independent fair coins.
        shares: Of the canaries that are guessed about.
        delta: 0 to 1 / (2 m).
        level: Confidence.
    """
    n_audits = len(scores) * len(shares)
    found = []
    for (name, values), share in product(scores.items(), shares):
        n_guesses = max(round(share * len(values)), 1)
        guesses = guess_membership(values, n_guesses - n_guesses // 2, n_guesses // 2)
        try:
            audit = audit_guesses(guesses, is_member, delta=delta, level=level, n_audits=n_audits)
        except NotEnoughDataError:  # all ties
            audit = None
        found.append(Guessed(name, share, audit))
    return sorted(found, key=lambda one: -one.epsilon_low)


def _refuse(canaries: int, shares: Sequence[float], delta: float, level: float) -> None:
    mistakes = [f"canaries is {canaries}; it must be 1 or more."] if canaries < 1 else []
    if not shares or not all(0 < share <= 1 for share in shares):
        mistakes.append(f"shares are {list(shares)}; name one or more, each above 0, at most 1.")
    raise_all(mistakes, SettingError)
    check_level(level)
    one_run_p_value(canaries, canaries, canaries, 0.0, delta)  # refuses a delta that does not fit


def _audited(
    train: Train,
    task: Task,
    attacks: Sequence[Attack],
    settings: Mapping[str, Any],
    store: Store,
    title: str,
    progress: Progress,
    engine: Engine,
) -> OneRun:
    bank = train_fleet(train, task, store, settings["seed"], progress, readings=readings_of(attacks), engine=engine)
    seen = _seen(bank.pool.map(lambda values: values[:, task.canaries]), bank.test, task)
    scores = {attack.name: attack(seen) for attack in attacks}
    is_member = task.membership[0, task.canaries]
    found = guessed(scores, is_member, settings["shares"], settings["delta"], settings["level"])
    right = bank.test.correct[0, :, 0]
    facts = [dict(one.get("defense", {})) for one in bank.facts]
    results = {
        "format": FORMAT,
        "title": title,
        "settings": dict(settings),
        "versions": versions(),
        "task": describe_task(task),
        "attacks": [describe_attack(attack) for attack in attacks],
        "bound": found[0].plain() | {"epsilon_low": found[0].epsilon_low},
        "audits": [one.plain() for one in found],
        "accuracy": dataclasses.asdict(clopper_pearson(int(right.sum()), len(right), settings["level"])),
        "facts": facts_of(facts) or None,
        "limits": list(_LIMITS),
    }
    return OneRun(results, scores, is_member)


def _seen(pool: Signals, population: Signals, task: Task) -> Observation:
    """What an attacker without reference models sees of the one model's answers on the canaries."""
    n = len(task.canaries)
    return Observation(
        target=pool.map(lambda values: values[0]),
        reference=pool.map(lambda values: values[:0]),
        in_reference=np.zeros((0, n), dtype=bool),
        labels=task.pool.y.numpy()[task.canaries],
        population=population.map(lambda values: values[0]),
        population_reference=population.map(lambda values: values[:0]),
    )


_LIMITS = (
    "A lower bound: a training that nothing is proven of may still leak; stronger attacks, or more canaries, may show.",
)


def _verdict(results: Mapping[str, Any]) -> list[str]:
    bound, settings = results["bound"], results["settings"]
    sure = f"{100 * settings['level']:g} % sure, delta {settings['delta']:g}"
    if bound["epsilon_low"] == 0:
        said = [f"No epsilon is ruled out ({sure}) by what {results['task']['canaries']:,} canaries tell."]
    else:
        said = [
            f"Epsilon is above {bound['epsilon_low']:.2f} ({sure}): by {bound['attack']}, {bound['n_correct']:,} of "
            f"{bound['n_guesses']:,} guesses about {bound['n_canaries']:,} canaries were right, the best of "
            f"{len(results['audits'])} sets of guesses."
        ]
    promised = (results.get("facts") or {}).get("epsilon")
    if isinstance(promised, int | float):
        broken = bound["epsilon_low"] > promised
        said.append(f"The defense promises {promised:.3g}, which this {'contradicts' if broken else 'agrees with'}.")
    return said
