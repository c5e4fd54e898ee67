"""The files of a comparison: its plan and its cells, read back and looked at before anything trusts them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from membrane.core.errors import StoreError, raise_all
from membrane.core.shapes import mistakes_of
from membrane.core.store import read_json

PLAN = "membrane comparison 1"
CELL = "membrane cell 1"
PLAN_FILE = "comparison.json"
_MOST_SAID = 10  # mistakes of one cell

_TOLD: dict[str, Any] = {"setting": "text", "method": "text", "strength": "text", "recipe?": {}, "seed": "int"}
_TRIAL = {"values": {"*": "number"}, "accuracy": "number?", "leakage": "number?"}
_PLAN = {
    "title": "text",
    "methods": ["text"],
    "settings": {"*": {}},
    "searches": [{"setting": "text", "method": "text", "trials": [_TRIAL]}],
    "cells": [_TOLD | {"file": "text"}],
    "versions": {"*": "text"},
}
_SPREAD = {"value": "number", "low?": "number", "high?": "number", "note?": "text"}
_ASKED = {"fpr": "number", **{f"{name}?": "number" for name in ("value", "low", "high")}, "note?": "text"}
_LEAK = {"attack": "text", "value": "number", "replicates": ["number?"]}
_DONE = {
    "accuracy": {"test": _SPREAD | {"n": "int"}, "train": {"value": "number"}},
    "accuracy_replicates": ["number?"],
    "slices": {"*": {"attacks": {"*": {"auc": _SPREAD, "tpr": [_ASKED]}}}},
    "leakage": {"population": {"auc": _LEAK}, "*": {"*": _LEAK}},
    "task": {"source": "text", **dict.fromkeys(("n_models", "members_per_model", "canaries", "test"), "int")},
    "attacks": [{"name": "text", "what": "text", "source": "text", "threat_model": "text", "queries": "int"}],
    "costs": {"train": "number", "finish": "number"},
}


def read_plan(folder: Path) -> dict[str, Any]:
    """What a comparison's folder is to hold.

    Raises:
        StoreError: If there is none, or it is not ours; every mistake is listed.
    """
    path = folder / PLAN_FILE
    plan = read_json(path)
    if not isinstance(plan, dict) or plan.get("format") != PLAN:
        raise StoreError(f"{path} is not the plan of a comparison; `membrane compare` writes one.")
    raise_all((f"{path.name}: {one}" for one in mistakes_of(plan, _PLAN)), StoreError)
    if not plan["methods"]:
        raise StoreError(f"{path.name}: methods is empty; there is nothing to compare.")
    for one in plan["cells"]:
        if one["setting"] not in plan["settings"] or one["method"] not in plan["methods"]:
            raise StoreError(
                f"{path.name}: a cell is of {one['setting']!r}, {one['method']!r}, which it does not list."
            )
        if not re.fullmatch(r"cells/[^/\\\0]+/[a-z0-9-]+\.json", one["file"]) or ".." in one["file"]:
            raise StoreError(f"{path.name}: a cell lies at {one['file']!r}, which is no place for one.")
    return plan


def read_cell(path: Path, of: str) -> dict[str, Any] | None:
    """A cell; None if it is not there, or was measured before its setting was changed.

    Args:
        path: Where.
        of: Fingerprint of the setting.

    Raises:
        StoreError: If it is not ours or not whole; every mistake is listed.
    """
    if not path.exists():
        return None
    cell = read_json(path)
    again = "Move it away, and it is measured again."
    if not isinstance(cell, dict) or cell.get("format") != CELL:
        raise StoreError(f"{path} is no cell of a comparison. {again}")
    rest: Mapping[str, Any] = {"failed": "text"} if "failed" in cell else _DONE
    mistakes = list(mistakes_of(cell, {**_TOLD, "of": "text", "key": "text", **rest}))
    if not mistakes and "failed" not in cell:
        mistakes = _contradictions(cell)
    raise_all((f"{path}: {one} {again}" for one in mistakes[:_MOST_SAID]), StoreError)
    return cell if cell["of"] == of else None


def _contradictions(cell: Mapping[str, Any]) -> list[str]:
    found = []
    for part, measures in cell["leakage"].items():
        attacks = cell["slices"].get(part, {"attacks": {}})["attacks"]
        for measure, one in measures.items():
            if not re.fullmatch(r"auc|tpr@(0\.\d+|1)", measure):
                found.append(f"leakage.{part} has {measure!r}; there are auc and tpr@ with a rate.")
                continue
            asked = attacks.get(one["attack"], {"tpr": ()})["tpr"]
            rates = [f"tpr@{rate['fpr']:g}" for rate in asked if rate.get("value") is not None]
            if one["attack"] not in attacks or (measure != "auc" and measure not in rates):
                found.append(f"leakage.{part}.{measure} is that of {one['attack']!r}, which the slice does not have.")
            if len(one["replicates"]) != len(cell["accuracy_replicates"]):
                found.append(f"leakage.{part}.{measure} has other resamples than accuracy.")
    if "population" not in cell["leakage"]:
        found.append("leakage.population is missing.")
    if cell["task"]["n_models"] < 2:
        found.append(f"task.n_models is {cell['task']['n_models']}; an audit has 4 or more.")
    return found
