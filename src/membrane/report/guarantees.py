"""Epsilon, claimed and measured: what differential privacy promises of an entry, and what its canaries rule out."""

from __future__ import annotations

from membrane.report import numbers as fmt
from membrane.report.access import Results
from membrane.report.tables import Cell, Table, head, word

_NEXT_TO_ALL = 0.99  # members that a promise lets be caught


def guarantees(results: Results) -> Table | None:
    """Claimed and measured epsilon of each entry, None if there is neither."""
    entries = [one for one in results["entries"] if one.get("epsilon") or _claims(one)]
    if not entries:
        return None
    rows = [[head(one["label"]), *_claimed(one), *_measured(one)] for one in entries]
    return Table(
        caption="An attacker's odds rise by e to the power of epsilon at most",
        columns=["", "Epsilon", "Members it lets be caught", "Says", "Epsilon is above", "Right guesses", "From"],
        rows=rows,
        groups=[("", 1), ("Promised by the defense", 3), ("Ruled out by the canaries of one model", 3)],
    )


def _claims(entry: Results) -> bool:
    return "epsilon" in (entry.get("facts") or {})


def _claimed(entry: Results) -> list[Cell]:
    facts = entry.get("facts") or {}
    if not _claims(entry):
        return [Cell("none"), Cell(fmt.NONE), word("no promise")]
    epsilon, delta = facts["epsilon"], facts.get("delta")
    bound, fpr = facts.get("tpr_bound"), facts.get("tpr_bound_at_fpr")
    empty = facts.get("vacuous") or (bound is not None and bound > _NEXT_TO_ALL)
    return [
        Cell("unbounded" if epsilon is None else f"{epsilon:.3g}", n="" if delta is None else f"delta {_small(delta)}"),
        Cell(fmt.percent(bound), n="" if fpr is None else f"at {100 * fpr:g} % FPR"),
        word("vacuous: rules out next to nothing" if empty else "limits every attack"),
    ]


def _measured(entry: Results) -> list[Cell]:
    found = entry.get("epsilon")
    if not found:
        return [Cell(fmt.NONE), Cell(fmt.NONE), word("no canaries, or their membership was not drawn here")]
    if found.get("refused"):
        return [Cell("no bound"), Cell(fmt.NONE), word(found["refused"])]
    text = f"{found['low']:.2f}" if found["low"] > 0 else "no bound"
    confidence = f"{fmt.level_of(found)} sure, delta {_small(found['delta'])}"
    return [
        Cell(text, n=confidence),
        Cell(f"{fmt.count(found['n_correct'])} of {fmt.count(found['n_guesses'])}"),
        word(
            f"{fmt.method_name(found['attack'])}, the best of {found['n_audits']} ways to guess, about "
            f"{fmt.plural(found['n_couples'], 'couple')} of canaries"
        ),
    ]


def _small(value: float) -> str:
    """``0.00001`` rather than ``1e-05``."""
    return f"{value:.12f}".rstrip("0").rstrip(".")
