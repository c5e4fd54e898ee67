"""What each defense changes against the baseline, with paired intervals: the question that a defense is run for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import CANARIES, MAIN_SLICE, Results
from membrane.report.tables import Cell, Table, head

SHOWN = (MAIN_SLICE, CANARIES)


def against(results: Results) -> Table | None:
    """Change of accuracy and leakage of every entry but the baseline, None if there is nothing to compare."""
    found = results.get("against") or ()
    if not found:
        return None
    slices = [name for name in SHOWN if any(name in one["slices"] for one in found)]
    rates = {name: _finest(found, name) for name in slices}
    rows = [
        [
            head(one["entry"]),
            _change(one["accuracy"], fmt.points, fmt.points_range),
            *(cell for name in slices for cell in _cells(one["slices"].get(name), rates[name])),
        ]
        for one in found
    ]
    heads = [["AUC", *([f"TPR at {100 * fpr:g} % FPR, points"] if fpr else [])] for fpr in rates.values()]
    return Table(
        caption=f"Change against {found[0]['baseline']}, paired on the same models' training sets and examples; each "
        "is attacked by what finds most in it",
        columns=["", "Test, points", *(column for columns in heads for column in columns)],
        rows=rows,
        groups=[
            ("", 1),
            ("Accuracy", 1),
            *((name.capitalize(), len(columns)) for name, columns in zip(slices, heads, strict=True)),
        ],
    )


def change_of(results: Results, label: str, slice_name: str) -> Mapping[str, Any] | None:
    """Paired change of an entry's area on a slice, None if it was not compared."""
    one = _of(results, label)
    part = None if one is None else one["slices"].get(slice_name)
    return None if part is None else part["auc"]


def accuracy_change_of(results: Results, label: str) -> Mapping[str, Any] | None:
    """Paired change of an entry's test accuracy, None if it was not compared."""
    one = _of(results, label)
    return None if one is None else one["accuracy"]


def direction(change: Mapping[str, Any]) -> str:
    """``lower`` or ``higher`` where the interval leaves out 0, else ``unclear``."""
    low, high = change.get("low"), change.get("high")
    if low is None or high is None:
        return "unclear"
    return "lower" if high < 0 else "higher" if low > 0 else "unclear"


def _of(results: Results, label: str) -> Mapping[str, Any] | None:
    return next((one for one in results.get("against") or () if one["entry"] == label), None)


def _finest(found: Any, name: str) -> float | None:  # noqa: ANN401 -- list of comparisons
    """The rate to show: 1 % where it was measured, else the finest that was."""
    known = {rate["fpr"] for one in found for rate in one["slices"].get(name, {}).get("tpr") or ()}
    return 0.01 if 0.01 in known else min(known, default=None)


def _cells(part: Results | None, fpr: float | None) -> list[Cell]:
    if part is None:
        return [Cell(fmt.NONE)] * (2 if fpr else 1)
    cells = [_change(part["auc"], fmt.signed, fmt.signed_range)]
    if fpr:
        rate = next((one for one in part.get("tpr") or () if one["fpr"] == fpr), None)
        cells.append(Cell(fmt.NONE) if rate is None else _change(rate, fmt.points, fmt.points_range))
    return cells


def _change(spread: Mapping[str, Any], value: Any, ends: Any) -> Cell:  # noqa: ANN401 -- ways to write
    return Cell(value(spread["value"]), ends(spread.get("low"), spread.get("high")))
