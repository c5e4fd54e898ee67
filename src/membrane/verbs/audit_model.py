"""The cheap tier: one finished model, no reference models."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from membrane.attacks import ATTACKS
from membrane.core.errors import DataError
from membrane.core.values import Observation
from membrane.data import Task, refuse_overlap
from membrane.data.examples import Examples
from membrane.models import signals_of
from membrane.training import Bank
from membrane.verbs.examples import ExamplesLike, as_classified
from membrane.verbs.measure import measure
from membrane.verbs.outcome import Audit
from membrane.verbs.results import plan_facts, results_of


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
