"""Audit: train a bank of models through the whole pipeline, attack every one of them, and say what came out.

Every model plays target once, without its complementary partner; all others are the attacker's reference
models. They ran the same pipeline, the defense and its choices included, so the attacker knows the defense.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from membrane.attacks import ATTACKS, Attack
from membrane.core.errors import DataError, SettingError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.store import Store, read_json, write_json, write_tensors
from membrane.core.values import Observation
from membrane.data import Source, Splits, Task, make_task, refuse_overlap
from membrane.data.examples import Examples
from membrane.models import signals_of
from membrane.report import check_results, to_html, to_markdown, verdict
from membrane.training import Bank, train_fleet
from membrane.training.check import training_mistakes
from membrane.verbs.examples import ExamplesLike, as_classified
from membrane.verbs.measure import Measurement, measure
from membrane.verbs.observe import check_attacks, score_bank
from membrane.verbs.results import Train, entry_of, finishing_seconds, label_of, plan_facts, results_of, settings_of

MODELS_LIMIT = (
    "Models were trained by us on random halves of one pool; a target trained on all of it may leak differently."
)


@dataclass(frozen=True)
class Audit:
    """Results of an audit.

    Args:
        results: JSON-ready; the same for the same seed, data, code and machine.
        costs: Seconds by entry, kept apart because no two runs agree on them.
        measurements: Scores behind the results by entry label; empty for an audit read back from a file.
    """

    results: dict[str, Any]
    costs: dict[str, Any] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> list[str]:
        """What was found, in sentences."""
        return verdict(self._complete())

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the report: one page that loads nothing from the network, figures as PNG beside it."""
        return to_html(self._complete(), path)

    def to_markdown(self) -> str:
        """Table for a review."""
        return to_markdown(self._complete())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write results.json, costs.json and scores.safetensors.

        Raises:
            StoreError: If they cannot be written.
        """
        tensors = {
            f"{label}/{attack}": scores
            for label, measured in self.measurements.items()
            for attack, scores in measured.scores.items()
        }
        if tensors:
            write_tensors(Path(folder) / "scores.safetensors", tensors)
        write_json(Path(folder) / "costs.json", self.costs)
        write_json(Path(folder) / "results.json", self.results)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Audit:
        """Audit from a folder that ``save`` wrote.

        Raises:
            StoreError: If there are no results or they are not ours.
        """
        results = read_json(Path(folder) / "results.json")
        check_results(results)
        costs = Path(folder) / "costs.json"
        return Audit(results, read_json(costs) if costs.is_file() else {})

    def _complete(self) -> dict[str, Any]:
        entries = [entry | {"seconds": self.costs.get(entry["label"])} for entry in self.results["entries"]]
        return self.results | {"entries": entries}


def audit(
    train: Train | Mapping[str, Train],
    data: Task | Splits | Source | Examples,
    *,
    references: int = 16,
    canaries: int = 0,
    holdout: int = 0,
    pool: int | None = None,
    attacks: Sequence[str | Attack] | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str = "Membership audit",
    progress: Progress = silent,
) -> Audit:
    """Measure what a training pipeline leaks about its training sets.

    Args:
        train: A recipe; or ``train(members, holdout, generator) -> model``, the user's own loop, defense included
            (holdout is None if nothing is set aside);
            or several of them by label, of which the first is the baseline.
        data: Where pool, holdout and test are drawn from; or a task that was drawn already, which settles references,
            canaries, holdout and pool.
        references: Models to train, even, 4 or more; each example is in half of them. More is more exact: 32 for
            intervals over models (they are drawn in pairs), 66 for a variance of LiRA's for each example.
        canaries: Mislabelled examples planted in the pool, to see the worst case.
        holdout: Examples set aside for pipelines that must choose something (PPTP needs 500 or more).
        pool: Examples that are audited; by default all that the train split has left.
        attacks: Names or objects; by default every attack that this number of models can feed.
        out: Run folder. Finished models lie there: a killed audit goes on where it was. Temporary if not given.
        seed: Decides splits, canaries, training and bootstrap.
        title: Heading of the report.
        progress: Told how far training and scoring are.

    Raises:
        DataError: If the data do not fit, before anything is trained.
        SettingError: If a setting does not fit, before anything is trained.
        NotEnoughDataError: If a named attack cannot run with so many models, before anything is trained.
        TrainingError: If a training diverges; finished models stay in the run folder.
    """
    trains = dict(train) if isinstance(train, Mapping) else {label_of(train): train}
    if not trains:
        raise SettingError("there is nothing to audit; pass a recipe or a training function.")
    task = _task(data, references, canaries, holdout, pool, seed)
    raise_all(f"{label}: {mistake}" for label, one in trains.items() for mistake in training_mistakes(one, task))
    chosen = choose_attacks(attacks, len(task.membership), len(task.test))
    if out is None:
        with tempfile.TemporaryDirectory(prefix="membrane-") as folder:
            return _audit(trains, task, chosen, Path(folder), seed, title, progress)
    done = _audit(trains, task, chosen, Path(out), seed, title, progress)
    done.save(out)
    return done


def choose_attacks(attacks: Sequence[str | Attack] | None, n_models: int, n_population: int) -> list[Attack]:
    """The named attacks, checked; or all that a bank of this size can feed.

    Raises:
        SettingError: If a name is unknown or given twice.
        NotEnoughDataError: If a named attack cannot run.
    """
    if attacks is None:
        n_each = n_models // 2 - 1
        return [attack for name in ATTACKS if not (attack := ATTACKS.make(name)).missing(n_each, n_each, n_population)]
    made = [ATTACKS.make(one) if isinstance(one, str | dict) else one for one in attacks]
    names = [attack.name for attack in made]
    if len(set(names)) != len(names) or not names:
        raise SettingError(f"attacks are {names}; name each once, and at least one.")
    check_attacks(made, n_models, n_population)
    return made


def _task(
    data: Task | Splits | Source | Examples, references: int, canaries: int, holdout: int, pool: int | None, seed: int
) -> Task:
    if isinstance(data, Task):
        if len(data.membership) % 2 or (data.membership[::2] == data.membership[1::2]).any():
            raise DataError("models 2k and 2k+1 of this task do not train on complementary halves; use make_task.")
        return data
    if references < 4 or references % 2:
        raise SettingError(f"references is {references}; an audit trains an even number of models, 4 or more.")
    if isinstance(data, Source):
        data = data.load()
    if isinstance(data, Examples):
        n_test = len(data) // 5
        order = np.random.default_rng(seed).permutation(len(data))
        data = Splits(data[order[n_test:]], data[order[:n_test]])
    wanted = len(data.train) - holdout if pool is None else pool
    return make_task(data, n_models=references, pool=wanted, holdout=holdout, canaries=canaries, seed=seed)


def _audit(
    trains: Mapping[str, Train], task: Task, attacks: list[Attack], out: Path, seed: int, title: str, progress: Progress
) -> Audit:
    store = Store(out / "store")
    entries, costs, measurements = [], {}, {}
    for i, (label, train) in enumerate(trains.items()):
        start = time.perf_counter()
        bank = train_fleet(train, task, store, seed, _named(progress, label, i, len(trains)))
        scores = score_bank(bank, task.membership, task.pool.y.numpy(), attacks)
        measurements[label] = measure(bank, scores, task, seed)
        entries.append(entry_of(label, train, bank, measurements[label], task))
        costs[label] = {
            "train": sum(float(facts.get("train_seconds", 0)) for facts in bank.facts),
            "finish": sum(finishing_seconds(facts) for facts in bank.facts),
            "audit": time.perf_counter() - start,
        }
    settings = {"seed": seed, "train": {label: settings_of(train) for label, train in trains.items()}}
    baseline = next(iter(trains)) if len(trains) > 1 else None
    results = results_of(title, settings, task, attacks, entries, baseline, [MODELS_LIMIT])
    return Audit(results, costs, measurements)


def _named(progress: Progress, label: str, done: int, total: int) -> Progress:
    return lambda what, part, whole: progress(f"{label}: {what}", done + part / whole, total)


def audit_model(
    model: nn.Module,
    members: ExamplesLike,
    non_members: ExamplesLike,
    *,
    seed: int = 0,
    title: str = "Audit of one model",
) -> Audit:
    """The cheap tier: what one finished model gives away to attacks that need no reference models.

    A lower bound, often far below what reference models show. If members and non-members differ in anything
    but membership (time, source, preparation), the attacks find that difference instead.

    Args:
        model: Maps inputs (B, ...) to logits (B, C).
        members: Examples that it was trained on: examples, a dataset of (input, label), or a pair of arrays.
        non_members: Examples of the same kind that it was not trained on, in the same form.
        seed: Of the bootstrap.
        title: Heading of the report.

    Raises:
        DataError: If the two parts do not have the same classes and input shape.
        ModelError: If the model's output does not fit.
    """
    members, non_members = (
        as_classified(model, part, what) for part, what in ((members, "members"), (non_members, "non_members"))
    )
    if members.x.shape[1:] != non_members.x.shape[1:] or len(members.classes) != len(non_members.classes):
        raise DataError(
            f"members have inputs {tuple(members.x.shape[1:])} and {len(members.classes)} classes, non-members "
            f"{tuple(non_members.x.shape[1:])} and {len(non_members.classes)}; they must agree."
        )
    refuse_overlap({"members": members, "non_members": non_members})
    pool = Examples(
        torch.cat([members.x, non_members.x]), torch.cat([members.y, non_members.y]), members.classes, members.source
    )
    is_member = (np.arange(len(pool)) < len(members))[None]
    signals = signals_of(model, pool)
    nobody = signals.map(lambda values: values[:0])
    seen = Observation(
        signals,
        signals.map(lambda values: values[None][:0]),
        is_member[:0],
        pool.y.numpy(),
        nobody,
        nobody.map(lambda values: values[None][:0]),
    )
    attacks = [attack for name in ATTACKS if not (attack := ATTACKS.make(name)).missing(0, 0, 0)]
    scores = {attack.name: attack(seen)[None] for attack in attacks}
    task = Task(pool, is_member, np.zeros(0, np.int64), None, non_members)
    bank = Bank(signals.map(lambda v: v[None]), signals.map(lambda v: v[None][:, len(members) :]), ({},))
    measured = measure(bank, scores, task, seed)
    label = type(model).__name__
    entry = {"label": label, "defense": {"name": "unknown"}} | measured.plain(task) | plan_facts([])
    limits = [
        "No reference models were trained: attacks that compare with them usually find much more.",
        "One model: the intervals are over examples and say nothing about another training run.",
    ]
    results = results_of(title, {"seed": seed, "model": label}, task, attacks, [entry], None, limits)
    return Audit(results, {}, {label: measured})
