"""What a comparison found, in sentences, and the names of what it measures."""

from __future__ import annotations

from collections.abc import Iterator

from membrane.report import numbers as fmt
from membrane.report.access import Results, flatten
from membrane.report.comparison.check import shown_settings

HEADLINE = 0.01  # loss of accuracy that the verdict speaks of


def measure_name(measure: str) -> str:
    """``AUC``, ``TPR at 1 % FPR``.

    >>> measure_name("tpr@0.01")
    'TPR at 1 % FPR'
    """
    return "AUC" if measure == "auc" else f"TPR at {100 * guess_of(measure):g} % FPR"


def guess_of(measure: str) -> float:
    """What a measure says where nothing leaks."""
    return 0.5 if measure == "auc" else float(measure.partition("@")[2])


def value_text(measure: str, value: float | None) -> str:
    """An area as a number, a rate in percent."""
    return fmt.area(value) if measure == "auc" else fmt.percent(value)


def recipe_text(point: Results) -> str:
    """What a point changed about its setting's recipe; empty if nothing.

    >>> recipe_text({"recipe": {"lr": 0.05, "augment": False}})
    'lr 0.05, augment no'
    """
    return ", ".join(f"{name} {value}" for name, value in flatten(point.get("recipe") or {}))


def loss_text(loss: float) -> str:
    """``as accurate``, ``1 point below``."""
    points = 100 * loss
    return "as accurate" if loss == 0 else f"{points:g} point{'' if points == 1 else 's'} below"


def level_at(setting: Results, part: str, measure: str, loss: float) -> Results | None:
    """One table of ``matched``; None if it is not there."""
    wanted = (part, measure, loss)
    return next((one for one in setting["matched"] if (one["slice"], one["measure"], one["loss"]) == wanted), None)


def sentences(results: Results) -> Iterator[str]:
    """The verdict: in each setting, who leaks least for one point of accuracy, and who is not told apart from it."""
    for setting in shown_settings(results):
        level = level_at(setting, "population", "auc", HEADLINE)
        if level is not None:
            yield _sentence(setting["name"], level, results["baseline"])
    if results["missing"]:
        yield f"{len(results['missing'])} cells are not measured yet; what follows is of the others."
    if results["failed"]:
        yield f"{len(results['failed'])} cells failed and are listed below."


def _sentence(name: str, level: Results, baseline: str) -> str:
    rows = {row["method"]: row for row in level["rows"] if row["value"] is not None}
    leader, base = level["leader"], rows[baseline]["value"]
    if leader == baseline:
        return f"{name}: at most one point below the accuracy of {baseline}, nothing leaks less than {baseline} does."
    level_with = [method for method, row in rows.items() if method not in (leader, baseline) and row["with_leader"]]
    ties = f" Not told apart from it: {', '.join(level_with)}." if level_with else " Every other one leaks more."
    return (
        f"{name}: at most one point below the accuracy of {baseline}, {leader} leaks least: AUC "
        f"{fmt.area(rows[leader]['value'])}, where {baseline} has {fmt.area(base)}.{ties}"
    )


LIMITS = (
    "Lower measured leakage is a statement about the attacks that were run, not a guarantee.",
    "Methods are compared on their measured frontiers: a method with more strengths has more chances to look good by "
    "luck, so compare sweeps of similar length; the number of points stands beside each.",
    "The method that leaks least was picked by what was measured, which luck favours; read its lead with its interval.",
    "Planted canaries cost accuracy, the baseline's too.",
    "Models were trained by us on random halves of one pool; a target trained on all of it may leak differently.",
    "Costs are seconds of training and finishing over the baseline's, the least of all seeds; other work on the "
    "machine adds to them.",
)
