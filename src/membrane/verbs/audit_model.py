"""Audit of one finished model, made here or elsewhere, with the reference models that there are, if any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from membrane.attacks import Attack
from membrane.core.errors import DataError, ModelError, NotEnoughDataError, raise_all
from membrane.core.generators import torch_generator
from membrane.core.progress import Progress, silent
from membrane.core.values import Bools, Floats, Observation, Signals
from membrane.data import Queries, Task, refuse_overlap
from membrane.data.examples import Examples, joined
from membrane.data.task import Subgroup
from membrane.metrics import auc, tail_estimate
from membrane.models import Answers
from membrane.readings import Reading, Reveals
from membrane.training import Bank
from membrane.training.memory import measured, steady
from membrane.verbs.examples import ExamplesLike, as_classified
from membrane.verbs.measure import FPRS, measure
from membrane.verbs.observe import choose_attacks, readings_of, refuse_unreadable
from membrane.verbs.outcome import Audit
from membrane.verbs.results import plan_facts, results_of
from membrane.verbs.tier import tier_of

_COUNTS_TELL = 0.02  # AUC away from 0.5 from which the references' membership itself is worth a warning
_ROUNDED = 0.01  # share of members from which answers that are all alike are worth a warning


def audit_model(
    model: nn.Module,
    members: ExamplesLike,
    non_members: ExamplesLike,
    *,
    references: Sequence[nn.Module] = (),
    in_reference: npt.ArrayLike | None = None,
    population: ExamplesLike | None = None,
    queries: Queries = "identity",
    subgroups: Mapping[str, Subgroup] | None = None,
    attacks: Sequence[str | Attack] | None = None,
    seed: int = 0,
    title: str = "Audit of one model",
    progress: Progress = silent,
) -> Audit:
    """What one finished model gives away: the cheap tier, or more with reference models from elsewhere.

    Without references a lower bound, often far below what references show. If members and non-members differ in
    anything but membership (time, source, preparation), the attacks find that difference instead.

    Args:
        model: Maps inputs (B, ...) to logits (B, C). A function, a service or an ONNX file becomes one by
            ``membrane.Answers`` or ``membrane.from_onnx``, which also say if it gives probabilities or labels only.
        members: Examples that it was trained on: examples, a dataset of (input, label), or a pair of arrays.
        non_members: Examples of the same kind that it was not trained on, in the same form.
        references: R' models trained like the target, its defense included, on known other data.
        in_reference: (R', N) bool, True where a reference was trained on an example; N counts the members, then the
            non-members. Left out: none of the references saw any of them.
        population: Further examples of the same kind that neither target nor references were trained on.
        queries: Ways in which models are asked for each image: "identity", "mirror" or "shifts", as in ``audit``.
        subgroups: By name, who belongs to a part of members and non-members, as in ``audit``.
        attacks: Names or objects; by default every attack that these references can feed.
        seed: Of the bootstrap.
        title: Heading of the report.
        progress: Told how many models have answered.

    Raises:
        DataError: If the parts do not fit each other, share inputs, or ``in_reference`` has another shape.
        ModelError: If a model's answers do not fit, are not logits, or change by themselves.
        OutOfMemoryError: If a model's answer to one input does not fit.
        NotEnoughDataError: If a named attack cannot run on this.
        SettingError: If an attack is unknown or named twice, or queries do not fit the inputs.
    """
    for one in (model, *references):
        _refuse_bare_functions(one)
    members, non_members = (
        as_classified(model, part, what) for part, what in ((members, "members"), (non_members, "non_members"))
    )
    public = None if population is None else as_classified(model, population, "population")
    parts = {"members": members, "non_members": non_members} | ({} if public is None else {"population": public})
    _refuse_unlike(parts)
    refuse_overlap(parts)
    pool = joined(members, non_members)
    is_member = np.arange(len(pool)) < len(members)
    task = Task(pool, is_member[None], np.zeros(0, np.int64), None, non_members).asked(queries)
    task = task.grouped(subgroups or {})
    seen_by = _in_reference(in_reference, len(references), len(pool))
    counts = seen_by.sum(0)
    n_in, n_out = int(counts.min(initial=len(seen_by))), int((len(seen_by) - counts).min(initial=len(seen_by)))
    reveals = _reveals(model)
    n_public = 0 if public is None else len(public)
    chosen = choose_attacks(attacks, n_in, n_out, n_public, reveals)
    refuse_unreadable(chosen, pool, public)
    for one in (model, *references):
        steady(one, pool)
    answers = []
    for row, one in enumerate((model, *references)):
        answers.append(_asked(one, row, pool, public, queries, readings_of(chosen), seed))
        progress("models", row + 1, len(references) + 1)
    (target, strangers), *others = answers
    seen = Observation(
        target,
        _stack([of_pool for of_pool, _ in others], target),
        seen_by,
        pool.y.numpy(),
        strangers,
        _stack([of_public for _, of_public in others], strangers),
    )
    scores = {attack.name: attack(seen)[None] for attack in chosen}
    bank = Bank(seen.target.map(lambda v: v[None]), seen.target.map(lambda v: v[None][:, len(members) :]), ({},))
    found = measure(bank, scores, task, seed)
    label = type(model).__name__
    entry = {"label": label, "defense": {"name": "unknown"}} | found.plain(task) | plan_facts([])
    entry |= {} if reveals == "labels" else {"tail": _tail(seen.target.loss[:, 0], is_member)}
    settings = {"seed": seed, "model": label, "references": len(references), "population": n_public}
    limits = _limits(seen, is_member, reveals)
    tier = tier_of(chosen, len(references), max(n_in, n_out))
    return Audit(results_of(title, settings, task, chosen, [entry], None, limits, tier=tier), {}, {label: found})


def _reveals(model: nn.Module) -> Reveals:
    if isinstance(model, Answers):
        return "labels" if model.output == "labels" else "scores"
    return "weights"


def _asked(
    model: nn.Module,
    row: int,
    pool: Examples,
    public: Examples | None,
    queries: Queries,
    readings: Sequence[Reading],
    seed: int,
) -> tuple[Signals, Signals]:
    """Signals and readings of one model on the pool and on the population; of the latter none without one."""
    asked = measured(model, pool if public is None else joined(pool, public), queries)
    taken = {one.key: one(model, pool, public, torch_generator(seed, "reading", one.key, row)) for one in readings}
    n = len(pool)
    of_pool, of_public = asked.map(lambda values: values[:n]), asked.map(lambda values: values[n:])
    return (
        dataclasses.replace(of_pool, readings={key: both[0] for key, both in taken.items()}),
        dataclasses.replace(of_public, readings={key: both[1] for key, both in taken.items()}),
    )


def _refuse_bare_functions(model: nn.Module | Callable[..., Any]) -> None:
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"the model is a {type(model).__name__}; wrap it, saying what it returns: "
            "membrane.Answers(function, 'logits'), 'probabilities' or 'labels'."
        )


def _refuse_unlike(parts: dict[str, Examples]) -> None:
    (first, like), *others = parts.items()
    raise_all(
        (
            f"{first} have inputs {tuple(like.x.shape[1:])} and {len(like.classes)} classes, {name} "
            f"{tuple(part.x.shape[1:])} and {len(part.classes)}; they must agree."
            for name, part in others
            if part.x.shape[1:] != like.x.shape[1:] or len(part.classes) != len(like.classes)
        ),
        DataError,
    )


def _in_reference(given: npt.ArrayLike | None, n_references: int, n: int) -> Bools:
    if given is None:
        return np.zeros((n_references, n), dtype=bool)
    array = np.asarray(given)
    if array.shape != (n_references, n) or array.dtype != np.bool_:
        raise DataError(
            f"in_reference is {array.dtype} of shape {array.shape}; for {n_references} references and {n} examples "
            f"(members, then non-members) it must be bool of shape ({n_references}, {n})."
        )
    return array


def _stack(signals: list[Signals], like: Signals) -> Signals:
    """Bank (R', N, Q), also of no models."""
    return Signals.stack(signals) if signals else like.map(lambda values: values[None][:0])


def _tail(losses: Floats, is_member: Bools) -> list[dict[str, Any]]:
    """What reference models might find at each false-positive rate, guessed from the losses."""
    found: list[dict[str, Any]] = []
    for fpr in FPRS:
        try:
            found.append({"fpr": fpr} | dataclasses.asdict(tail_estimate(losses, is_member, fpr)))
        except NotEnoughDataError as refusal:
            found.append({"fpr": fpr, "refused": str(refusal)})
    return found


def _limits(seen: Observation, is_member: Bools, reveals: Reveals) -> list[str]:
    """What this audit does not show."""
    n_references = len(seen.in_reference)
    limits = ["One model: the intervals are over examples and say nothing about another training run."]
    if not n_references:
        limits.insert(0, "No reference models were used: attacks that compare with them usually find much more.")
    else:
        limits.append(
            f"{n_references} reference models from elsewhere: if they were not trained like the target, its defense "
            "included, a better informed attacker finds more."
        )
        told = auc(seen.n_in, is_member)
        if abs(told - 0.5) > _COUNTS_TELL:
            limits.append(
                f"How many references were trained on an example tells members by itself (AUC {told:.3f}): attacks "
                "may report that instead of what the model leaks. Choose reference data independently of the target's."
            )
    if reveals == "labels":
        limits.append("The model answers with labels only; attacks on scores were left out, not defeated.")
    surest = seen.target.loss[is_member] == seen.target.loss.min()
    if reveals != "labels" and float(surest.mean()) > _ROUNDED:
        limits.append(
            f"{float(surest.mean()):.1%} of the members get the same, surest answer: the answers are rounded, and "
            "attacks on unrounded ones may find more."
        )
    return limits
