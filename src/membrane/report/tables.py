"""Tables as values: cells that keep a number together with its interval, its sample and what must be known about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from membrane.report import numbers as fmt
from membrane.report.access import CANARIES, MAIN_SLICE, Results, attack_names, rate_at, rates, strongest


@dataclass(frozen=True)
class Cell:
    """One number or word.

    Args:
        text: The value.
        interval: Ends of its interval, empty if it has none.
        n: The sample behind it, in words.
        mark: Number of a footnote, empty if there is none.
        kind: ``head``, ``text``, ``number`` or ``refused``.
        bar: Low end, value and high end as fractions of what the number could be, for a bar in the cell.
    """

    text: str
    interval: str = ""
    n: str = ""
    mark: str = ""
    kind: str = "number"
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, which may stand in named groups.

    Args:
        caption: What the table shows.
        columns: Head of each column.
        rows: As many cells each as there are columns.
        groups: (name, number of columns) from the left; empty if there are none.
        notes: Footnotes, numbered from 1.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    groups: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """Column heads that stand alone: with the name of their group."""
        groups = [name for name, width in self.groups for _ in range(width)] or [""] * len(self.columns)
        return [" ".join(filter(None, pair)) for pair in zip(groups, self.columns, strict=True)]


class Notes:
    """Footnotes, each text once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str | None) -> str:
        """Number of a text, empty for none."""
        if not text:
            return ""
        if text not in self.texts:
            self.texts.append(text)
        return str(self.texts.index(text) + 1)


def head(text: str) -> Cell:
    """First cell of a row."""
    return Cell(text, kind="head")


def word(text: str) -> Cell:
    """A cell of words."""
    return Cell(text, kind="text")


def rate_cell(rate: Mapping[str, Any] | None, notes: Notes | None = None) -> Cell:
    """A counted share with its interval and counts, or the reason why it cannot be resolved, and what must be known."""
    if rate is None:
        return Cell(fmt.NONE)
    if rate.get("refused"):
        return Cell(f"not resolvable: {_need(rate['refused'])}", mark=_mark(notes, _to_measure(rate)), kind="refused")
    value, low, high = rate["value"], rate.get("low"), rate.get("high")
    caught, total = rate.get("successes"), fmt.count(rate["n"])
    n = f"n = {total}" if caught is None else f"{fmt.count(caught)} of {total}"
    text, ends = fmt.percent(value, low, high), fmt.percent_range(low, high, value)
    return Cell(text, ends, n, _mark(notes, rate.get("note")), bar=_bar(value, low, high))


def _mark(notes: Notes | None, text: str | None) -> str:
    return "" if notes is None else notes.mark(text)


def _to_measure(rate: Mapping[str, Any]) -> str:
    """What a refused rate would take, empty if the results do not say."""
    n = rate.get("to_measure")
    if n is None:
        return ""
    return (
        f"To measure a false-positive rate of {100 * rate['fpr']:g} % within half of itself takes "
        f"{fmt.count(n)} independent non-member trials."
    )


def _need(refusal: str) -> str:
    """The need alone: the column says which rate was asked for, and what could be asked instead does not fit a cell."""
    first, _, _ = refusal.partition(". ")
    _, _, need = first.partition(" FPR ")
    return need or refusal


def _bar(value: float | None, low: float | None, high: float | None) -> tuple[float, float, float] | None:
    if value is None:
        return None
    return (value if low is None else low, value, value if high is None else high)


def auc_cell(part: Results, auc: Mapping[str, Any], notes: Notes) -> Cell:
    """An area with its interval and both sample sizes; the bar begins at a guess."""
    value, low, high = auc["value"], auc.get("low"), auc.get("high")
    n = f"{fmt.count(part['n_members'])} + {fmt.count(part['n_non_members'])}"
    bar = _bar(value, low, high)
    above = None if bar is None else (max(0.0, 2 * bar[0] - 1), max(0.0, 2 * bar[1] - 1), max(0.0, 2 * bar[2] - 1))
    return Cell(fmt.area(value), fmt.area_range(low, high), n, notes.mark(auc.get("note")), bar=above)


def defenses(results: Results) -> Table:
    """All entries side by side: accuracy, then the strongest attack on the population and on the canaries."""
    notes, shown = Notes(), (MAIN_SLICE, CANARIES)
    asked = rates(results, shown)
    attack_columns = ["AUC", *(f"TPR at {100 * fpr:g} % FPR" for fpr in asked)]
    rows = [
        [
            head(entry["label"]),
            rate_cell(entry["accuracy"]["test"], notes),
            rate_cell(entry["accuracy"].get("train")),
            Cell(fmt.points(entry["accuracy"].get("gap"))),
            _strongest_names(entry, shown),
            *(cell for name in shown for cell in _slice_cells(entry, name, asked, notes)),
        ]
        for entry in results["entries"]
    ]
    return Table(
        caption="Each defense: what it costs and what it leaks, by the strongest attack on each slice",
        columns=["", "Test", "Train", "Gap, points", "Strongest attack", *attack_columns, *attack_columns],
        rows=rows,
        groups=[
            ("", 1),
            ("Accuracy", 3),
            ("", 1),
            ("Population", len(attack_columns)),
            ("Canaries", len(attack_columns)),
        ],
        notes=notes.texts,
    )


def _strongest_names(entry: Results, names: Iterable[str]) -> Cell:
    best = [fmt.method_name(entry["slices"][name]["strongest"]) for name in names if name in entry["slices"]]
    return Cell(" / ".join(dict.fromkeys(best)) or fmt.NONE, kind="text")


def _slice_cells(entry: Results, name: str, asked: list[float], notes: Notes) -> list[Cell]:
    best = strongest(entry, name)
    if best is None:
        return [Cell(fmt.NONE)] * (1 + len(asked))
    part = entry["slices"][name]
    return [auc_cell(part, best["auc"], notes), *(rate_cell(rate_at(best, fpr), notes) for fpr in asked)]


def every_attack(results: Results) -> Table:
    """Every entry, slice and attack: the numbers behind figures 1 and 2."""
    notes, asked, order = Notes(), rates(results), attack_names(results)
    rows = []
    for entry in results["entries"]:
        for slice_name, part in entry["slices"].items():
            for name in sorted(part["attacks"], key=order.index):
                attack = part["attacks"][name]
                crown = " (strongest)" if name == part["strongest"] else ""
                cells = [
                    auc_cell(part, attack["auc"], notes),
                    *(rate_cell(rate_at(attack, fpr), notes) for fpr in asked),
                ]
                rows.append([head(entry["label"]), word(slice_name), word(fmt.method_name(name) + crown), *cells])
    return Table(
        caption="Every attack on every slice",
        columns=["Entry", "Slice", "Attack", "AUC", *(f"TPR at {100 * fpr:g} % FPR" for fpr in asked)],
        rows=rows,
        notes=notes.texts,
    )


def comparisons(results: Results) -> Table | None:
    """Paired comparisons at matched accuracy, None if there are none."""
    found = results.get("comparisons") or ()
    notes = Notes()
    rows = [
        [
            head(one["ours"]),
            word(one["theirs"]),
            Cell(fmt.percent(one.get("accuracy"))),
            _difference(one["difference"], notes),
            word(one.get("text") or ""),
        ]
        for one in found
    ]
    columns = ["This", "against", "at test accuracy", "AUC difference", "In words"]
    return Table("Paired comparisons at matched accuracy", columns, rows, notes=notes.texts) if rows else None


def _difference(spread: Mapping[str, Any], notes: Notes) -> Cell:
    ends = fmt.signed_range(spread.get("low"), spread.get("high"))
    clusters = spread.get("n_clusters")
    n = fmt.plural(clusters, "model") if clusters else ""
    return Cell(fmt.signed(spread["value"]), ends, n, notes.mark(spread.get("note")))
