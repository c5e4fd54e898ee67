"""Is this a results file of ours, and whole? Asked once, at the edge; the rest of the room trusts the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from membrane.core.errors import StoreError, raise_all
from membrane.core.shapes import mistakes_of

FORMAT = "membrane results 1"

_SPREAD = {"value": "number?", "low?": "number", "high?": "number"}
_RATE = {"value": "number?", "n": "int", "low?": "number", "high?": "number", "level?": "number"}
_ASKED = {
    "fpr": "number",
    "refused?": "text",
    "to_measure?": "int",
    "note?": "text",
    **{f"{name}?": "number" for name in ("value", "n", "low", "high")},
}
_COUNTED = {"value": "number", "n": "int", "successes": "int", "low?": "number", "high?": "number"}
_ATTACK = {"auc": _SPREAD, "tpr?": [_ASKED]}
_ROC = {"fpr": ["number"], "tpr": ["number"]}
_SLICE = {"n_members": "int", "n_non_members": "int", "strongest": "text", "attacks": {"*": {**_ATTACK, "roc?": _ROC}}}
_BY = {"fpr": "number", "models?": _COUNTED, "falsely": "int", "others": "int"}
_EXPOSED = {"index": "int", "label": "text", "slice": "text", "caught": "number?", "n_targets": "int", "by?": _BY}
_RISK = {
    "attack": "text",
    "fpr": "number",
    **dict.fromkeys(("by_any", "by_most", "by_all", "falsely_twice"), _COUNTED),
    **dict.fromkeys(("overlap?", "overlap_by_chance?", "falsely_twice_by_chance?"), "number"),
}
_GROUP = {
    "name": "text",
    "n_members": "int",
    "n_non_members": "int",
    "excess": _SPREAD,
    "p_value": "number",
    "adjusted": "number",
}
_EPSILON = {
    "refused?": "text",
    "attack?": "text",
    **dict.fromkeys(("low?", "delta?", "level?"), "number"),
    **dict.fromkeys(("n_couples?", "n_guesses?", "n_correct?", "n_audits?"), "int"),
}
_AGAINST = {
    "entry": "text",
    "baseline": "text",
    "accuracy": _SPREAD,
    "slices": {"*": {"auc": _SPREAD, "tpr?": [{"fpr": "number", **_SPREAD}]}},
}
_TIER = {
    "name": "text",
    "references": "int",
    "next?": {"name": "text", "models": "int", "adds": "text"},
    "unread?": "text",
}
_PLAN = {
    "applied": "yes/no",
    "reason?": "text",
    "stretches": [{"region": "text", "first": "int", "last": "int", "keep": "number"}],
    "accuracy_change?": _SPREAD,
    "leakage_after?": _SPREAD,
}
_SET = {"regions": ["text"], "leakage_drop": _SPREAD, "accuracy_change": _SPREAD}
_REGION = {
    "name": "text",
    "n_parameters": "int",
    "share": "number?",
    "displacement": "number?",
    "leakage_drop": _SPREAD,
    "accuracy_change": _SPREAD,
    "null?": _SPREAD,
    "random_channels?": {"leakage_drop": "number?", "accuracy_change": "number?"},
    "flags?": ["text"],
}
_MAP = {"method": "text", "regions": [_REGION], "window?": ["int"], "flags?": ["text"], "sets?": [_SET]}
_PLACE = {"region": "text", "of": "text", "slices": {"*": _SPREAD}}
_ABOUT = {
    **dict.fromkeys(("source", "acts_on", "extra_data", "does_not_stop"), "text"),
    "reading?": "yes/no",
    "cost?": "text",
    "notes?": "text",
}
_ENTRY = {
    "label": "text",
    "defense?": {},
    "about?": _ABOUT,
    "accuracy": {"test": _RATE, "train?": _RATE, "gap?": "number"},
    "slices": {"*": _SLICE},
    "exposed?": [_EXPOSED],
    "risk?": _RISK,
    "groups?": {"attack": "text", "compared": [_GROUP], "too_small?": "int"},
    "epsilon?": _EPSILON,
    "facts?": {},
    "plan?": _PLAN,
    "plans_agreement?": {"text": "text"},
    "choices_known?": "int",
    "risk_map?": _MAP,
    "regions?": {"base": "text", "places": [_PLACE]},
    "tail?": [_ASKED],
    "seconds?": {},
}
_RESULTS = {
    "format": "text",
    "title": "text",
    "created?": "text",
    "settings?": {},
    "versions?": {"*": "text"},
    "task": {"source": "text", "pool": "int", "n_models": "int", "canaries?": "int", "classes?": ["text"]},
    "partial?": {"text": "text"},
    "baseline?": "text",
    "entries": [_ENTRY],
    "attacks?": [{"name": "text", "what?": "text", "source?": "text", "threat_model?": "text", "queries?": "int"}],
    "comparisons?": [{"ours": "text", "theirs": "text", "difference": _SPREAD, "accuracy?": "number", "text?": "text"}],
    "limits?": ["text"],
    "against?": [_AGAINST],
    "tier?": _TIER,
}
_BOUND = ("low", "delta", "attack", "n_couples", "n_guesses", "n_correct", "n_audits")


def check_results(results: Any) -> None:  # noqa: ANN401 -- whatever a file held
    """Nothing, if ``results`` can be reported.

    Raises:
        StoreError: If it is not a results dictionary of this format, or parts are missing or of the wrong kind; the
            message lists all of them by their path.
    """
    if not isinstance(results, Mapping) or results.get("format") != FORMAT:
        came = results.get("format", "no format at all") if isinstance(results, Mapping) else type(results).__name__
        raise StoreError(
            f"this is not a results file: format is {came!r}, not {FORMAT!r}. `membrane audit` writes one."
        )
    raise_all([f"results: {mistake}" for mistake in mistakes_of(results, _RESULTS)], StoreError)
    raise_all([f"results: {mistake}" for mistake in _contradictions(results)], StoreError)


def _contradictions(results: Mapping[str, Any]) -> Iterator[str]:
    labels = [entry["label"] for entry in results["entries"]]
    if not labels:
        yield "entries is empty; there is nothing to report."
    if len(set(labels)) != len(labels):
        yield f"entries share a label: {', '.join(labels)}. Each needs its own."
    if results.get("baseline") is not None and results["baseline"] not in labels:
        yield f"baseline is {results['baseline']!r}; the entries are {', '.join(labels)}."
    for one in results.get("against") or ():
        if not {one["entry"], one["baseline"]} <= set(labels):
            yield f"against compares {one['entry']!r} with {one['baseline']!r}; the entries are {', '.join(labels)}."
    for i, entry in enumerate(results["entries"]):
        bound = entry.get("epsilon")
        if bound and not bound.get("refused") and any(bound.get(name) is None for name in _BOUND):
            yield f"entries[{i}].epsilon has neither all of {', '.join(_BOUND)} nor a refusal."
        if not entry["slices"]:
            yield f"entries[{i}].slices is empty; there is no audit to report."
        for name, part in entry["slices"].items():
            yield from _slice_contradictions(part, f"entries[{i}].slices.{name}")


def _slice_contradictions(part: Mapping[str, Any], path: str) -> Iterator[str]:
    if part["strongest"] not in part["attacks"]:
        yield f"{path}.strongest is {part['strongest']!r}; its attacks are {', '.join(part['attacks']) or 'none'}."
    for name, attack in part["attacks"].items():
        curve = attack.get("roc")
        if curve and len(curve["fpr"]) != len(curve["tpr"]):
            yield f"{path}.attacks.{name}.roc has {len(curve['fpr'])} fpr and {len(curve['tpr'])} tpr; need equal many."
        for one in attack.get("tpr") or ():
            if one.get("refused") is None and (one.get("value") is None or one.get("n") is None):
                yield f"{path}.attacks.{name}.tpr at {one['fpr']:g} has neither a value with n nor a refusal."
