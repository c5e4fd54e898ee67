"""Which attacker an audit stood for, and what a stronger one would take and add, in a sentence or two."""

from __future__ import annotations

from membrane.report import numbers as fmt
from membrane.report.access import Results


def tier(results: Results) -> list[str]:
    """Sentences; none for results that do not say."""
    found = results.get("tier")
    if not found:
        return []
    said = [f"Tier of this audit: {found['name']} ({fmt.plural(found['references'], 'reference model')} per target)."]
    following = found.get("next")
    if following:
        said.append(
            f"The next, {following['name']}, takes {fmt.plural(following['models'], 'model')} for each pipeline"
            f"{_cost(results, following['models'])} and adds {following['adds']}."
        )
    if found.get("unread"):
        said.append(f"Not part of it: {found['unread']}.")
    return said


def _cost(results: Results, models: int) -> str:
    """Time that the missing models would take, where this run's is known."""
    trained = [one["seconds"] for one in results["entries"] if (one.get("seconds") or {}).get("train")]
    there = results["task"]["n_models"]
    if not trained or there < 1 or models <= there:
        return ""
    spent = sum(one["train"] + (one.get("finish") or 0.0) for one in trained)
    return f" (about {fmt.duration(spent * (models - there) / there)} of training more, as these went)"
