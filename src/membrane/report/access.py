"""Reading a results dictionary: the few look-ups that tables, figures and sentences share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]
MAIN_SLICE = "population"
CANARIES = "canaries"


def main_slice(entry: Results) -> str:
    """``population``, or the first slice where an entry has none of that name."""
    return MAIN_SLICE if MAIN_SLICE in entry["slices"] else str(next(iter(entry["slices"])))


def strongest(entry: Results, slice_name: str) -> Results | None:
    """The strongest attack's numbers on a slice, None if the entry lacks the slice."""
    part = entry["slices"].get(slice_name)
    return None if part is None else part["attacks"][part["strongest"]]


def baseline_position(results: Results) -> int | None:
    """Place of the undefended entry in the list, None if there is none."""
    labels = [entry["label"] for entry in results["entries"]]
    return labels.index(results["baseline"]) if results.get("baseline") in labels else None


def slice_names(results: Results) -> list[str]:
    """All slices, those of the first entries first."""
    return list(dict.fromkeys(name for entry in results["entries"] for name in entry["slices"]))


def attack_names(results: Results) -> list[str]:
    """All attacks that any entry was exposed to, in the order of the results' own list."""
    used = [name for entry in results["entries"] for part in entry["slices"].values() for name in part["attacks"]]
    listed = [attack["name"] for attack in results.get("attacks") or ()]
    return sorted(dict.fromkeys(used), key=lambda name: listed.index(name) if name in listed else len(listed))


def rates(results: Results, names: tuple[str, ...] | None = None) -> list[float]:
    """False-positive rates that were asked about, refused ones included, largest first."""
    found = {
        one["fpr"]
        for entry in results["entries"]
        for name, part in entry["slices"].items()
        if names is None or name in names
        for attack in part["attacks"].values()
        for one in attack.get("tpr") or ()
    }
    return sorted(found, reverse=True)


def rate_at(attack: Results, fpr: float) -> Results | None:
    """The rate (or refusal) at one false-positive rate, None if it was not asked about."""
    return next((one for one in attack.get("tpr") or () if one["fpr"] == fpr), None)


def flatten(settings: Any, prefix: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 -- any JSON value
    """``[("recipe.lr", "0.1")]``: nested settings with dotted names, in their own order."""
    if isinstance(settings, Mapping) and settings:
        return [
            pair for key, value in settings.items() for pair in flatten(value, f"{prefix}.{key}" if prefix else key)
        ]
    if isinstance(settings, list) and any(isinstance(value, Mapping | list) for value in settings):
        return [pair for i, value in enumerate(settings) for pair in flatten(value, f"{prefix}[{i}]")]
    return [(prefix, _written(settings))] if prefix else []


def _written(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    if isinstance(value, list | tuple):
        return ", ".join(_written(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {}:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
