"""The verdict in sentences, each number with its sample and its interval, and no claim beyond the measurement.

A defense is said to leak less only where the paired interval of the change leaves out 0, or, where results hold no
paired comparison, where its interval and the baseline's do not overlap, which is stricter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from membrane.report.access import CANARIES, Results, baseline_position, main_slice, rate_at, strongest
from membrane.report.against import accuracy_change_of, change_of, direction
from membrane.report.numbers import (
    count,
    level_of,
    method_name,
    percent,
    percent_range,
    plural,
    points,
    points_range,
    signed,
    signed_range,
)

_NO_INTERVAL = "no interval"
_FAVOURITE_RATES = (0.01, 0.1, 0.001)


@dataclass(frozen=True)
class Finding:
    """What is said about one entry.

    Args:
        label: The entry; empty where it is the only one.
        headline: A few words; empty where there is nothing to compare with.
        sentences: The whole truth, for an entry by itself or against the baseline.
        tone: ``lower``, ``higher`` or ``unclear`` measured leakage than the baseline's, or ``plain``.
    """

    label: str
    headline: str
    sentences: str
    tone: str


def verdict(results: Results) -> list[str]:
    """The findings as plain sentences, one string for each entry; before them, that an audit is partial if it is."""
    return [
        *([results["partial"]["text"]] if results.get("partial") else []),
        *(": ".join(filter(None, [one.label, f"{one.headline} {one.sentences}".strip()])) for one in findings(results)),
    ]


def findings(results: Results) -> list[Finding]:
    """One finding for each entry: the baseline first, the others compared with it at their accuracies."""
    entries, base = results["entries"], baseline_position(results)
    if len(entries) == 1:
        return [Finding("", "", _alone(results, entries[0]), "plain")]
    if base is None:
        return [Finding(entry["label"], "", _alone(results, entry) + _accuracy(entry), "plain") for entry in entries]
    first = Finding(entries[base]["label"], "", _alone(results, entries[base]) + _accuracy(entries[base]), "plain")
    return [first, *(_against(results, entry, entries[base]) for i, entry in enumerate(entries) if i != base)]


def _alone(results: Results, entry: Results) -> str:
    return f"{_ranking(entry)}{_guessing(entry)}{_canaries(results, entry)}"


def _ranking(entry: Results, base: Results | None = None) -> str:
    """How well the strongest attack tells a member from a non-member, and how well it did for ``base``."""
    name = main_slice(entry)
    part, best = entry["slices"][name], strongest(entry, name)
    assert best is not None  # main_slice names one that exists
    who = f"The strongest of {len(part['attacks'])} attacks" if len(part["attacks"]) > 1 else "The only attack run"
    auc = best["auc"]
    return (
        f"{who} ({method_name(part['strongest'])}) ranks a random member above a random non-member in "
        f"{percent(auc['value'])} of pairs ({_interval(auc)}, {count(part['n_members'])} members, "
        f"{count(part['n_non_members'])} non-members; 50 % is guessing){_reference(name, base)}."
    )


def _interval(measured: Mapping[str, Any]) -> str:
    ends = _ends(measured)
    return ends if ends == _NO_INTERVAL else f"{level_of(measured)} interval {ends}"


def _guessing(entry: Results) -> str:
    best = strongest(entry, main_slice(entry))
    low = best["auc"].get("low") if best else None
    if low is None or low > 0.5:
        return ""
    return " The interval includes guessing: on this sample these attacks found nothing they could be sure of."


def _canaries(results: Results, entry: Results, base: Results | None = None) -> str:
    """How many of the planted canaries are caught at few false accusations, or why that cannot be said."""
    best = strongest(entry, CANARIES)
    if best is None or not best.get("tpr"):
        return ""
    planted = results["task"].get("canaries")
    where = f" On the {f'{count(planted)} ' if planted else ''}planted canaries"
    resolved = _resolved(best)
    if resolved is None:
        return f"{where} no rate can be resolved: {best['tpr'][0]['refused']}"
    who, rate = _catching_most(entry, resolved["fpr"])
    return (
        f"{where} {method_name(who)} catches {percent(rate['value'])} of members ({_interval(rate)}, "
        f"{count(rate.get('successes'))} of {count(rate['n'])}) while accusing {100 * rate['fpr']:g} % of non-members"
        f"{_canary_reference(rate['fpr'], base)}."
    )


def _catching_most(entry: Results, fpr: float) -> tuple[str, Results]:
    """Attack with the highest rate on the canaries at one false-positive rate; the strongest by area if they tie."""
    part = entry["slices"][CANARIES]
    rates = {name: rate_at(attack, fpr) for name, attack in part["attacks"].items()}
    known = {name: rate for name, rate in rates.items() if rate is not None and rate.get("value") is not None}
    name = max(known, key=lambda one: (known[one]["value"], one == part["strongest"]))
    return name, known[name]


def _resolved(attack: Results) -> Results | None:
    """The rate to quote: at 1 % if it was measured, else the next that was."""
    asked = [*_FAVOURITE_RATES, *(one["fpr"] for one in attack["tpr"])]
    found = (rate_at(attack, fpr) for fpr in asked)
    return next((rate for rate in found if rate is not None and not rate.get("refused")), None)


def _accuracy(entry: Results) -> str:
    test = entry["accuracy"]["test"]
    return f" Test accuracy is {percent(test['value'])} ({_interval(test)}, {plural(test['n'], 'prediction')})."


def _against(results: Results, entry: Results, base: Results) -> Finding:
    mine, its = strongest(entry, main_slice(entry)), strongest(base, main_slice(entry))
    change = change_of(results, entry["label"], main_slice(entry))
    if change is None:
        tone = "unclear" if mine is None or its is None else _compare(mine["auc"], its["auc"])
        headline = f"{_LEAKAGE[tone]}, {_accuracy_words(entry, base)}."
    else:
        tone = direction(change)
        by = f"{signed(change['value'])} AUC, {signed_range(change.get('low'), change.get('high')) or _NO_INTERVAL}"
        accuracy = accuracy_change_of(results, entry["label"])
        headline = f"{_LEAKAGE[tone]} ({by}), {_accuracy_words(entry, base, accuracy)}."
    return Finding(entry["label"], headline, f"{_ranking(entry, base)}{_canaries(results, entry, base)}", tone)


_LEAKAGE = {
    "lower": "lower measured leakage",
    "higher": "higher measured leakage",
    "unclear": "no difference in leakage that the intervals resolve",
}


def _compare(mine: Mapping[str, Any], its: Mapping[str, Any]) -> str:
    """``lower`` or ``higher`` where the two intervals do not overlap, else ``unclear``."""
    ends = [mine.get("low"), mine.get("high"), its.get("low"), its.get("high")]
    low, high, its_low, its_high = (float("nan") if end is None else end for end in ends)
    if high < its_low:  # every comparison with NaN is False, so a missing interval ends in "unclear"
        return "lower"
    return "higher" if low > its_high else "unclear"


def _accuracy_words(entry: Results, base: Results, change: Mapping[str, Any] | None = None) -> str:
    mine, its = entry["accuracy"]["test"], base["accuracy"]["test"]
    if mine["value"] is None or its["value"] is None:
        return "test accuracy not measured"
    difference, values = mine["value"] - its["value"], f"{percent(mine['value'])} against {percent(its['value'])}"
    if change is not None:
        ends = points_range(change.get("low"), change.get("high")) or _NO_INTERVAL
        return f"test accuracy {values} ({points(change['value'])} points, {ends})"
    tone = _compare(mine, its)
    if tone == "unclear":
        return f"test accuracy {values} ({points(difference)} points, within overlapping intervals)"
    return f"test accuracy {values} ({points(difference)} points)"


def _reference(slice_name: str, base: Results | None) -> str:
    its = None if base is None else strongest(base, slice_name)
    if base is None or its is None or its["auc"]["value"] is None:
        return ""
    return f"; for {base['label']} it is {percent(its['auc']['value'])} ({_ends(its['auc'])})"


def _canary_reference(fpr: float, base: Results | None) -> str:
    its = None if base is None else strongest(base, CANARIES)
    known = None if its is None else rate_at(its, fpr)
    if base is None or known is None or known.get("refused"):
        return ""
    _, rate = _catching_most(base, fpr)
    return f"; for {base['label']} it is {percent(rate['value'])} ({_ends(rate)})"


def _ends(measured: Mapping[str, Any]) -> str:
    return percent_range(measured.get("low"), measured.get("high"), measured.get("value")) or _NO_INTERVAL
