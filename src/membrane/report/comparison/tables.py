"""The tables of a comparison: the board, all methods at equal accuracy, every point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import CANARIES, MAIN_SLICE, Results
from membrane.report.comparison.check import shown_settings
from membrane.report.comparison.words import level_at, loss_text, measure_name, recipe_text, value_text
from membrane.report.tables import Cell, Notes, Table, head, rate_cell, word


def board(results: Results, loss: float) -> Table:
    """Methods by the share of the baseline's leakage that is left, in each setting and on average."""
    found = next(one for one in results["board"] if one["loss"] == loss)
    names = [setting["name"] for setting in shown_settings(results)]
    rows = []
    for row in found["rows"]:
        places = [_place(row["settings"].get(name)) for name in names]
        rows.append(
            [
                head(row["method"]),
                Cell(_share(row["share_left"])),
                Cell(f"{row['n_settings']} of {len(names)}"),
                *places,
            ]
        )
    return Table(
        caption=f"What is left of the leakage of {results['baseline']}, {_at(loss)}",
        columns=["", "Left, mean", "Settings reached", *names],
        rows=rows,
    )


def _share(value: float | None) -> str:
    return fmt.NONE if value is None else f"{100 * value:.0f} %"


def _place(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell("not reached", kind="text")
    crown = ", least or not told apart from it" if row["with_leader"] else ""
    bar = None if row.get("share_left") is None else max(0.0, min(1.0, row["share_left"]))
    return Cell(
        _share(row.get("share_left")),
        n=f"AUC {fmt.area(row['value'])}{crown}",
        bar=None if bar is None else (bar, bar, bar),
    )


def matched(setting: Results, loss: float) -> Table | None:
    """All methods of one setting at one loss of accuracy, every slice and measure; None if there is none."""
    asked = list(dict.fromkeys((one["slice"], one["measure"]) for one in setting["matched"]))
    levels = {pair: level_at(setting, *pair, loss) for pair in asked}
    first = next((level for level in levels.values() if level), None)
    if first is None:
        return None
    notes = Notes()
    rows = [
        [
            head(row["method"]),
            Cell(str(row["points"])),
            _change(row.get("accuracy_change")),
            *(cell for pair in asked for cell in _matched_cells(levels[pair], row["method"], pair[1], notes)),
        ]
        for row in first["rows"]
    ]
    return Table(
        caption=f"Every method at its best, {_at(loss)}",
        columns=["", "Points", "Accuracy, points", *(name for _ in asked for name in ("Leaks", "More than the least"))],
        rows=rows,
        groups=[("", 3), *((f"{part.capitalize()}, {measure_name(measure)}", 2) for part, measure in asked)],
        notes=notes.texts,
    )


def _at(loss: float) -> str:
    return (
        "at the baseline's accuracy or above"
        if loss == 0
        else f"at most {100 * loss:g} points of accuracy below the baseline"
    )


def _change(change: Mapping[str, Any] | None) -> Cell:
    """Accuracy against the baseline's, of what a method offers on the first measure."""
    if change is None:
        return Cell(fmt.NONE)
    return Cell(fmt.points(change["value"]), fmt.points_range(change["low"], change["high"]))


def _matched_cells(level: Results | None, method: str, measure: str, notes: Notes) -> list[Cell]:
    row = next((one for one in level["rows"] if one["method"] == method), None) if level else None
    if level is None or row is None or row["value"] is None:
        return [Cell("not reached", kind="text"), Cell(fmt.NONE)]
    if method == level["leader"]:
        return [Cell(value_text(measure, row["value"])), Cell("the least", kind="text")]
    behind = row["behind"]
    text = fmt.signed(behind["value"]) if measure == "auc" else fmt.points(behind["value"])
    ends = (fmt.signed_range if measure == "auc" else fmt.points_range)(behind.get("low"), behind.get("high"))
    return [
        Cell(value_text(measure, row["value"])),
        Cell(text, ends or "no interval", mark=notes.mark(behind.get("note"))),
    ]


def points(setting: Results) -> Table:
    """Every strength of every method: changes to the recipe, accuracy, leakage by the strongest attacks, cost."""
    notes, tuned = Notes(), any(map(recipe_text, setting["points"]))
    asked = [
        (part, measure)
        for part in (MAIN_SLICE, CANARIES)
        for measure in dict.fromkeys(m for point in setting["points"] for m in point["leakage"].get(part, {}))
    ]
    rows = [
        [
            head(point["method"]),
            word(point["strength"]),
            *([word(recipe_text(point) or "the setting's")] if tuned else []),
            _accuracy(point["accuracy"], notes),
            Cell(fmt.percent(point["train_accuracy"])),
            word(" / ".join(_attacks(point))),
            *(_leakage(point["leakage"].get(part, {}).get(measure), measure, notes) for part, measure in asked),
            Cell(fmt.NONE if point["cost"] is None else f"{point['cost']:.2g}"),
            Cell(str(len(point["seeds"]))),
        ]
        for point in setting["points"]
    ]
    return Table(
        caption="Every strength of every method, each attacked by models that went through the same",
        columns=[
            "",
            "Strength",
            *(["Recipe"] if tuned else []),
            "Test accuracy",
            "Train accuracy",
            "Strongest attack",
            *(f"{part.capitalize()} {measure_name(measure)}" for part, measure in asked),
            "Cost",
            "Seeds",
        ],
        rows=rows,
        notes=notes.texts,
    )


def _attacks(point: Results) -> list[str]:
    found = [part["auc"]["attacks"] for part in point["leakage"].values() if "auc" in part]
    return list(dict.fromkeys(fmt.method_name(name) for names in found for name in names))


def _accuracy(value: Mapping[str, Any], notes: Notes) -> Cell:
    if "n" in value:
        return rate_cell(value, notes)
    return Cell(
        fmt.percent(value["value"]),
        fmt.percent_range(value["low"], value["high"], value["value"]),
        mark=notes.mark(value["note"]),
    )


def _leakage(value: Mapping[str, Any] | None, measure: str, notes: Notes) -> Cell:
    if value is None:
        return Cell("not resolvable", kind="text")
    low, high = value.get("low"), value.get("high")
    ends = fmt.area_range(low, high) if measure == "auc" else fmt.percent_range(low, high, value["value"])
    return Cell(value_text(measure, value["value"]), ends, mark=notes.mark(value.get("note")))


def unfinished(results: Results) -> Table | None:
    """Cells that failed, and those that are missing; None if there are none."""
    cells = [(one, one["why"]) for one in results["failed"]] + [(one, "not measured yet") for one in results["missing"]]
    rows = [
        [head(one["setting"]), word(one["method"]), word(one["strength"]), Cell(str(one["seed"])), word(why)]
        for one, why in cells
    ]
    return Table("Cells without a result", ["Setting", "Method", "Strength", "Seed", "Why"], rows) if rows else None


def searches(results: Results) -> Table | None:
    """Trials of every search; None if nothing was searched."""
    rows = [
        [
            head(one["setting"]),
            word(one["method"]),
            word(", ".join(f"{name} {value:.4g}" for name, value in trial["values"].items())),
            Cell(fmt.percent(trial["accuracy"])) if trial["accuracy"] is not None else word("diverged"),
            Cell(fmt.area(trial["leakage"])),
        ]
        for one in results["searches"]
        for trial in one["trials"]
    ]
    caption = "Trials: a few other models on other draws, accuracy on the pool's non-members; none is reported above"
    return Table(caption, ["Setting", "Method", "Values", "Accuracy", "AUC"], rows) if rows else None


def losses(results: Results) -> list[tuple[str, str]]:
    """(value, text) of the losses of accuracy to choose from."""
    return [(f"{one['loss']:g}", loss_text(one["loss"])) for one in results["board"]]
