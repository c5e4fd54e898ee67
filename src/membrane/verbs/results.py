"""From measurements to results: one JSON-ready dict that the report is made from, and nothing else is."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from membrane.attacks import Attack
from membrane.core.device import described, working_device
from membrane.core.settings import to_plain
from membrane.core.version import __version__
from membrane.data import Queries, Task
from membrane.data.queries import ways
from membrane.training import Bank, Recipe
from membrane.training.fleet import TrainFunction
from membrane.verbs.measure import Measurement
from membrane.verbs.privacy import DELTA, epsilon, facts_of

Train = Recipe | TrainFunction
FORMAT = "membrane results 1"


def results_of(
    title: str,
    settings: Mapping[str, Any],
    task: Task,
    attacks: Sequence[Attack],
    entries: Sequence[Mapping[str, Any]],
    baseline: str | None,
    limits: Sequence[str],
    comparisons: Sequence[Mapping[str, Any]] = (),
    against: Sequence[Mapping[str, Any]] = (),
    tier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Results, the same for the same inputs: no times and no dates are in them."""
    return {
        "format": FORMAT,
        "title": title,
        "created": None,
        "settings": dict(settings),
        "versions": versions(),
        "task": describe_task(task),
        "baseline": baseline,
        "entries": list(entries),
        "attacks": [describe_attack(attack, task.queries) for attack in attacks],
        "comparisons": list(comparisons),
        "against": list(against),
        "tier": tier,
        "limits": list(limits),
    }


def entry_of(label: str, train: Train, bank: Bank, measured: Measurement, task: Task) -> dict[str, Any]:
    """One defense's part of the results."""
    facts = [dict(one.get("defense", {})) for one in bank.facts]
    entry: dict[str, Any] = {"label": label, "defense": {"name": label}, "about": None}
    if isinstance(train, Recipe):
        entry |= {"defense": to_plain(train.defense), "about": train.defense.about()}
    bound = None
    if len(task.canaries):
        delta = float(facts[0].get("delta", DELTA))
        bound = epsilon(measured.scores, measured.is_member, task.canaries, delta)
    return entry | measured.plain(task) | plan_facts(facts) | {"facts": facts_of(facts) or None, "epsilon": bound}


def plan_facts(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Plan and risk map of the first model, and how far the others' plans agree with it."""
    choices = [one["choice"] for one in facts if "choice" in one]
    if not choices:
        return {"plan": None, "plans_agreement": None, "risk_map": None}
    first = choices[0]
    regions = [[stretch["region"] for stretch in choice["plan"]["stretches"]] for choice in choices]
    same = sum(one == regions[0] for one in regions)
    text = f"{same} of {len(regions)} models chose the regions {', '.join(regions[0]) or 'none'}."
    return {
        "plan": {
            "applied": first["applied"],
            "reason": first["reason"],
            "stretches": first["plan"]["stretches"],
            "accuracy_change": first["accuracy_change"],
            "leakage_before": first["leakage_before"],
            "leakage_after": {"value": first["leakage_after"], "low": None, "high": None},
            "n_candidates": first["n_candidates"],
        },
        "plans_agreement": {"n_models": len(regions), "same_regions": same, "text": text},
        "risk_map": {key: value for key, value in facts[0]["risk_map"].items() if key != "seconds"},
    }


def finishing_seconds(facts: Mapping[str, Any]) -> float:
    """What a defense spent on one model after training."""
    defense = facts.get("defense", {})
    parts = (defense, defense.get("choice", {}), defense.get("risk_map", {}))
    return sum(float(part["seconds"]) for part in parts if "seconds" in part)


def settings_of(train: Train) -> Any:  # noqa: ANN401 -- JSON-ready settings
    """Settings of a recipe; the name of a function."""
    return to_plain(train) if isinstance(train, Recipe) else {"function": label_of(train)}


def describe_task(task: Task) -> dict[str, Any]:
    """JSON-ready facts about data and split."""
    return {
        "source": task.pool.source,
        "checksum": task.checksum(),
        "pool": len(task.pool),
        "n_models": len(task.membership),
        "members_per_model": int(task.membership[0].sum()),
        "canaries": len(task.canaries),
        "holdout": task.n_holdout,
        "test": len(task.test),
        "queries": task.queries,
        "classes": list(task.pool.classes),
    }


def describe_attack(attack: Attack, queries: Queries = "identity") -> dict[str, Any]:
    """JSON-ready facts about an attack, with the inputs that the target answers for each example."""
    what = (type(attack).__doc__ or "").strip().split("\n")[0]
    return {
        "name": attack.name,
        "what": what,
        "source": attack.source,
        "threat_model": attack.threat_model,
        "queries": attack.queries_of(len(ways(queries))),
    }


def versions() -> dict[str, str]:
    """Versions that results depend on, and the device that models were trained on, as the report shows them."""
    return made_with() | {"device": described(working_device())}


def made_with() -> dict[str, str]:
    """The same as far as it tells one measurement from another; the CPU goes without saying."""
    device = working_device().type
    return {
        "membrane": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
        **({} if device == "cpu" else {"device": device}),
    }


def label_of(train: Train) -> str:
    """Name of a recipe's defense, or of a function."""
    return train.defense.name if isinstance(train, Recipe) else str(getattr(train, "__name__", "model"))
