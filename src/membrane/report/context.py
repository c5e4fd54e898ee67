"""Everything that the page's template shows, prepared: words, figures and tables by the names the template uses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from membrane.report import detail_tables, numbers, palette, records, tables
from membrane.report.access import Results, attack_names, baseline_position, main_slice, slice_names
from membrane.report.against import against
from membrane.report.by_region import by_region
from membrane.report.dots import dots
from membrane.report.filters import Safe
from membrane.report.frame import Drawing, entry_class, swatch
from membrane.report.frontier import frontier, measures
from membrane.report.guarantees import guarantees
from membrane.report.limits import limits
from membrane.report.plan_figure import plan_figure
from membrane.report.risk_figure import heat, risk_panels
from membrane.report.roc import MIN_ACCUSED, roc
from membrane.report.tier import tier
from membrane.report.verdict import findings


def context(results: Results) -> dict[str, Any]:
    """The template's variables."""
    return {**_words(results), **_figures(results), **_tables(results)}


def _words(results: Results) -> dict[str, Any]:
    task = results["task"]
    facts = [
        ("examples in the pool", numbers.count(task["pool"])),
        ("members per model", numbers.count(task.get("members_per_model"))),
        ("models, each target once", numbers.count(task["n_models"])),
        ("planted canaries", numbers.count(task.get("canaries"))),
        ("test examples", numbers.count(task.get("test"))),
        ("holdout examples", numbers.count(task.get("holdout"))),
        ("classes", numbers.count(len(task["classes"])) if task.get("classes") else numbers.NONE),
        ("attacks", numbers.count(len(attack_names(results)))),
    ]
    return {
        "findings": findings(results),
        "created": _moment(results.get("created")),
        "facts": [(value, name) for name, value in facts if value not in (numbers.NONE, "0")],
        "limits": limits(results),
        "tier": tier(results),
        "level": numbers.level_of(results["entries"][0]["accuracy"]["test"]),
        "min_accused": MIN_ACCUSED,
    }


def _moment(created: str | None) -> str:
    """``2026-11-01 10:24 UTC`` for an ISO time; whatever else came, as it came."""
    try:
        return f"{datetime.fromisoformat(created or ''):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return created or ""


def _figures(results: Results) -> dict[str, Any]:
    entries = results["entries"]
    base = baseline_position(results)
    legend = [(i, entry["label"], entry_class(results, i), Safe(swatch(i))) for i, entry in enumerate(entries)]
    return {
        "dots": [(label, value, _drawing(drawn)) for label, value, drawn in dots(results)],
        "frontier": _drawing(frontier(results)),
        "roc": _drawing(roc(results)),
        "maps": [_map(entry, i) for i, entry in enumerate(entries) if entry.get("risk_map")],
        "plans": [
            (entry, i, _drawing(plan_figure(entry)), detail_tables.plan(entry)) for i, entry in _planned(results)
        ],
        "legend": legend,
        "marks": {label: (class_, mark) for _, label, class_, mark in legend},
        "attack_legend": [
            (name, f"a{i % len(palette.LIGHT)}", Safe(swatch(i))) for i, name in enumerate(attack_names(results))
        ],
        "measures": measures(results),
        "slice_options": [(name, name) for name in slice_names(results)],
        "attack_options": [("strongest", "strongest"), *((n, numbers.method_name(n)) for n in attack_names(results))],
        "entry_options": [(str(i), entry["label"]) for i, entry in enumerate(entries)],
        "map_options": [(str(i), entry["label"]) for i, entry in enumerate(entries) if entry.get("risk_map")],
        "first_slice": main_slice(entries[0]),
        "several": len(entries) > 1,
        "baseline_index": 0 if base is None else base,
    }


def _planned(results: Results) -> list[tuple[int, Results]]:
    return [(i, entry) for i, entry in enumerate(results["entries"]) if entry.get("plan")]


def _drawing(drawing: Drawing | None) -> Safe | None:
    return None if drawing is None else Safe(drawing.svg)


def _map(entry: Results, position: int) -> dict[str, Any]:
    risk_map = entry["risk_map"]
    released = {stretch["region"]: stretch for stretch in (entry.get("plan") or {}).get("stretches") or ()}
    return {
        "position": position,
        "label": entry["label"],
        "about": _about(entry["label"], risk_map),
        "flags": risk_map.get("flags") or (),
        "strip": [(name, level, text, released.get(name)) for name, level, text in heat(risk_map)],
        "panels": [_drawing(panel) for panel in risk_panels(risk_map)],
        "regions": detail_tables.regions(risk_map),
        "sets": detail_tables.sets(risk_map),
    }


def _about(label: str, risk_map: Results) -> str:
    """How a risk map was measured, as far as it says so."""
    window, members, holdout = (risk_map.get(name) for name in ("window", "n_members", "n_holdout"))
    leakage, accuracy, seconds = (risk_map.get(name) for name in ("leakage", "accuracy", "seconds"))
    parts = [
        f"{label}: estimator {numbers.method_name(risk_map['method'])}",
        f"early window epochs {window[0]}–{window[-1]}" if window else "",
        f"measured on {numbers.count(members)} members" if members else "",
        f"and {numbers.count(holdout)} holdout examples" if holdout else "",
        f"the unedited model has AUC {numbers.area(leakage)} there" if leakage is not None else "",
        f"and {numbers.percent(accuracy)} accuracy" if accuracy is not None else "",
        f"it took {numbers.duration(seconds)}" if seconds is not None else "",
    ]
    return ", ".join(filter(None, parts)).replace(", and ", " and ") + "."


def _tables(results: Results) -> dict[str, Any]:
    shown = [(i, records.exposed(entry)) for i, entry in enumerate(results["entries"])]
    return {
        "defenses": tables.defenses(results),
        "every_attack": tables.every_attack(results),
        "against": against(results),
        "comparisons": tables.comparisons(results),
        "guarantees": guarantees(results),
        "spread": records.spread(results),
        "groups": records.groups(results),
        "exposed": [(i, results["entries"][i]["label"], table) for i, table in shown if table],
        "where": [(entry["label"], table) for entry in results["entries"] if (table := by_region(entry))],
        "tail": detail_tables.tail(results),
        "attacks": detail_tables.attacks(results),
        "entries": detail_tables.entries(results),
        "abouts": detail_tables.abouts(results),
        "settings": detail_tables.pairs("Settings", results.get("settings")),
        "versions": detail_tables.pairs("Versions", results.get("versions")),
        "exposed_options": [(str(i), results["entries"][i]["label"]) for i, table in shown if table],
        "duration": numbers.duration,
        "points": detail_tables.points_change,
        "area": numbers.area,
        "area_range": numbers.area_range,
    }
