"""Tables behind the risk map and the plan, and those of what was run: attacks, settings, versions, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import Results, flatten
from membrane.report.records import facts
from membrane.report.tables import Cell, Table, head, rate_cell, word


def area_change(spread: Mapping[str, Any] | None) -> Cell:
    """A signed change of the AUC with its interval."""
    if spread is None:
        return Cell(fmt.NONE)
    return Cell(fmt.signed(spread["value"]), fmt.signed_range(spread.get("low"), spread.get("high")))


def points_change(spread: Mapping[str, Any] | None) -> Cell:
    """A signed change of the accuracy, in percentage points, with its interval."""
    if spread is None:
        return Cell(fmt.NONE)
    return Cell(fmt.points(spread["value"]), fmt.points_range(spread.get("low"), spread.get("high")))


def regions(risk_map: Results) -> Table:
    """The risk map in numbers, regions in the order in which they run."""
    rows = []
    for region in risk_map["regions"]:
        control = region.get("random_channels") or {"leakage_drop": None, "accuracy_change": None}
        rows.append(
            [
                head(region["name"]),
                area_change(region["leakage_drop"]),
                area_change(region.get("null")),
                points_change(region["accuracy_change"]),
                Cell(fmt.signed(control["leakage_drop"]), n=f"{fmt.points(control['accuracy_change'])} points"),
                Cell(fmt.percent(region["share"]), n=fmt.plural(region["n_parameters"], "parameter")),
                Cell(fmt.NONE if region["displacement"] is None else f"{region['displacement']:.4g}"),
                word("; ".join(region.get("flags") or ())),
            ]
        )
    columns = [
        "Region",
        "Leakage removed, AUC",
        "Null: membership permuted",
        "Accuracy change, points",
        "As many random channels",
        "Share of parameters",
        "Displacement",
        "Careful",
    ]
    return Table("Each region moved alone to its early window", columns, rows)


def sets(risk_map: Results) -> Table | None:
    """Regions moved together, None if that was not tried."""
    rows = [
        [head(" + ".join(one["regions"])), area_change(one["leakage_drop"]), points_change(one["accuracy_change"])]
        for one in risk_map.get("sets") or ()
    ]
    columns = ["Regions", "Leakage removed, AUC", "Accuracy change, points"]
    return Table("Neighbouring regions moved together", columns, rows) if rows else None


def plan(entry: Results) -> Table | None:
    """The released stretches, None if the entry has no plan or keeps every final weight."""
    rows = [
        [
            head(stretch["region"]),
            word(_epochs(stretch)),
            Cell(fmt.percent(1 - stretch["keep"])),
            Cell(fmt.percent(stretch["keep"])),
        ]
        for stretch in (entry.get("plan") or {}).get("stretches") or ()
    ]
    columns = ["Region", "Mean of epochs", "Weight of that mean", "Weight of the final weights"]
    return Table(f"Released plan, {entry['label']}", columns, rows) if rows else None


def _epochs(stretch: Results) -> str:
    return f"{stretch['first']}" if stretch["first"] == stretch["last"] else f"{stretch['first']}–{stretch['last']}"


def attacks(results: Results) -> Table | None:
    """The attacks that were run, None if the results do not list them."""
    rows = [
        [
            head(one["name"]),
            word(one.get("what") or ""),
            word(one.get("threat_model") or ""),
            Cell(fmt.count(one.get("queries"))),
            word(one.get("source") or ""),
        ]
        for one in results.get("attacks") or ()
    ]
    columns = ["Attack", "What it does", "Reads", "Queries per example", "Source"]
    return Table("Attacks that were run", columns, rows) if rows else None


def tail(results: Results) -> Table | None:
    """What LiRA might catch, guessed from the losses; None if no entry holds such a guess."""
    told = [entry for entry in results["entries"] if entry.get("tail")]
    if not told:
        return None
    columns = ["Entry", *(f"TPR at {100 * one['fpr']:g} % FPR, estimated" for one in told[0]["tail"])]
    rows = [[head(entry["label"]), *map(rate_cell, entry["tail"])] for entry in told]
    return Table("What LiRA might catch, estimated from the losses", columns, rows)


def entries(results: Results) -> Table:
    """Each entry's defense with its settings, and the seconds that it took."""
    names = list(dict.fromkeys(name for entry in results["entries"] for name in entry.get("seconds") or ()))
    rows = []
    for entry in results["entries"]:
        settings = flatten(entry.get("defense") or {})
        kind = ", ".join(value for name, value in settings if name == "name")
        written = ", ".join(f"{name} = {value}" for name, value in settings if name != "name")
        times = [Cell(fmt.duration((entry.get("seconds") or {}).get(name))) for name in names]
        rows.append([head(entry["label"]), word(kind), word(written or "none"), facts(entry), *times])
    columns = [
        "Entry",
        "Defense",
        "Its settings",
        "Reported of its models",
        *(f"Time, {name}" for name in names),
    ]
    return Table("Entries, their settings and what they cost", columns, rows)


def abouts(results: Results) -> Table | None:
    """What each entry's defense is and is known not to stop, None if no entry says so."""
    found = [(entry["label"], entry["about"]) for entry in results["entries"] if entry.get("about")]
    rows = [
        [
            head(label),
            word(about["acts_on"]),
            word(about["extra_data"]),
            Cell(about.get("cost") or "not measured", n=about.get("cost_measured_on") or "", kind="text"),
            word(about["does_not_stop"]),
            word(("a reading of " if about.get("reading") else "") + about["source"]),
        ]
        for label, about in found
    ]
    columns = ["Entry", "Acts on", "Extra data", "Costs, over undefended", "Does not stop", "Source"]
    return Table("What each defense is, and what it is known not to stop", columns, rows) if rows else None


def pairs(caption: str, settings: Any) -> Table | None:  # noqa: ANN401 -- any JSON value
    """Nested settings as two columns, None if there are none."""
    rows = [[head(name), word(value)] for name, value in flatten(settings or {})]
    return Table(caption, ["Setting", "Value"], rows) if rows else None
