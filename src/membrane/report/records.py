"""Who carries the risk: single examples that models betray, innocents who are accused, groups that leak more."""

from __future__ import annotations

from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import Results
from membrane.report.tables import Cell, Table, head, rate_cell, word

ALIKE = 0.05  # chance of one wrong name among all groups


def spread(results: Results) -> Table | None:
    """By entry, how many members are caught by any, most and all models that were trained on them."""
    found = [(entry, entry["risk"]) for entry in results["entries"] if entry.get("risk")]
    if not found:
        return None
    rows = [
        [
            head(entry["label"]),
            *(rate_cell(risk[name]) for name in ("by_any", "by_most", "by_all")),
            _beside(risk.get("overlap"), risk.get("overlap_by_chance"), "by chance"),
            rate_cell(risk["falsely_twice"]),
            Cell(fmt.percent(risk.get("falsely_twice_by_chance"))),
        ]
        for entry, risk in found
    ]
    rate, attacks = 100 * found[0][1]["fpr"], {risk["attack"] for _, risk in found}
    who = fmt.method_name(attacks.pop()) if len(attacks) == 1 else "each entry's strongest attack"
    return Table(
        caption=f"Single examples, each model accusing {rate:g} % of its own non-members; by {who}",
        columns=["", "Any", "Most", "All", "Overlap", "Twice or more", "If all alike"],
        rows=rows,
        groups=[("", 1), ("Caught by models trained on them", 3), ("Two models", 1), ("Falsely accused", 2)],
    )


def groups(results: Results) -> list[tuple[str, str, Table]]:
    """(label, finding in a sentence, table) for each entry whose groups were compared."""
    return [
        (entry["label"], _sentence(entry["groups"]), _groups(entry["label"], entry["groups"]))
        for entry in results["entries"]
        if entry.get("groups")
    ]


def _sentence(found: Results) -> str:
    compared = found["compared"]
    worse = sorted((one for one in compared if one["adjusted"] <= ALIKE), key=lambda one: -one["excess"]["value"])
    small = found.get("too_small") or 0
    left = f" {fmt.plural(small, 'group was', 'groups were')} too small to compare." if small else ""
    if not worse:
        which = "The one group compared is not" if len(compared) == 1 else f"None of {len(compared)} groups is"
        return f"{which} seen to leak more than the rest.{left}"
    names = ", ".join(f"{one['name']} ({fmt.signed(one['excess']['value'])} AUC)" for one in worse[:6]) + (
        f" and {len(worse) - 6} more" if len(worse) > 6 else ""
    )
    verb = "leaks" if len(worse) == 1 else "leak"
    return f"Of {len(compared)} groups, {names} {verb} more than the rest.{left}"


def _groups(label: str, found: Results) -> Table:
    order = sorted(found["compared"], key=lambda one: -one["excess"]["value"])
    rows = [
        [
            head(one["name"]),
            _excess(one["excess"]),
            _p(one["p_value"]),
            _p(one["adjusted"]),
            Cell(f"{fmt.count(one['n_members'])} + {fmt.count(one['n_non_members'])}"),
        ]
        for one in order
    ]
    columns = ["Group", "AUC beyond the rest's", "p", "p among all (Holm)", "Trials"]
    return Table(f"Groups against the rest, {label}, by {fmt.method_name(found['attack'])}", columns, rows)


def _excess(one: Any) -> Cell:  # noqa: ANN401 -- interval of the results
    return Cell(fmt.signed(one["value"]), fmt.signed_range(one.get("low"), one.get("high")))


def _p(value: float) -> Cell:
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}")


def _beside(value: float | None, other: float | None, what: str) -> Cell:
    return Cell(fmt.percent(value), n="" if other is None else f"{fmt.percent(other)} {what}")


def exposed(entry: Results) -> Table | None:
    """The records that the attacks recognize best, None if the entry lists none."""
    known = [one["by"] for one in entry.get("exposed") or () if one.get("by")]
    rows = [
        [
            head(f"{one['index']}"),
            word(one["label"]),
            word(one["slice"]),
            Cell(fmt.percent(one["caught"])),
            *(_by(one) if known else [Cell(fmt.count(one["n_targets"]))]),
        ]
        for one in entry.get("exposed") or ()
    ]
    at = f" at {100 * known[0]['fpr']:g} % FPR" if known else ""
    last = [f"Models that catch it{at}", "Falsely accused by"] if known else ["Target models"]
    columns = ["Record", "Class", "Slice", "Non-member trials below it", *last]
    return Table(f"Most exposed records, {entry['label']}", columns, rows) if rows else None


def _by(one: Results) -> list[Cell]:
    """How many models trained on a record catch it, with the interval for another one, and how many others do."""
    by = one.get("by")
    if not by:
        return [Cell(fmt.NONE)] * 2
    falsely, rate = Cell(f"{by['falsely']} of {by['others']}"), by.get("models")
    if not rate:
        return [Cell(fmt.NONE), falsely]
    ends = fmt.percent_range(rate.get("low"), rate.get("high"), rate["value"])
    return [Cell(f"{rate['successes']} of {rate['n']}", f"{ends} %" if ends else ""), falsely]


def facts(entry: Results) -> Cell:
    """What a defense reported of its models."""
    found = entry.get("facts") or {}
    said = [f"{name.replace('_', ' ')} {_fact(value)}" for name, value in found.items() if name not in GUARANTEE]
    return word(", ".join(said) or "nothing")


GUARANTEE = ("epsilon", "delta", "vacuous", "tpr_bound", "tpr_bound_at_fpr", "accountant", "sample_rate", "updates")


def _fact(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    if isinstance(value, dict) and {"mean", "low", "high"} <= set(value):
        return f"{value['mean']:.4g} ({value['low']:.4g} to {value['high']:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
