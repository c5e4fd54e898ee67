from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from membrane.core.errors import StoreError
from membrane.report import check_results
from tests.report.example import example


@pytest.mark.parametrize("count", [1, 2, 5])
def test_our_results_pass(count: int) -> None:
    check_results(example(count))


@pytest.mark.parametrize("other", [None, [], "text", {}, {"format": "membrane results 2"}])
def test_another_file_is_named_for_what_it_is(other: object) -> None:
    with pytest.raises(StoreError, match="not a results file: format is"):
        check_results(other)


def test_everything_missing_is_listed_at_once() -> None:
    results = example(2)
    del results["title"], results["task"]["n_models"], results["entries"][1]["slices"]["population"]["strongest"]
    with pytest.raises(StoreError) as caught:
        check_results(results)
    for part in ("title is missing", "task.n_models is missing", "entries[1].slices.population.strongest is missing"):
        assert part in str(caught.value)


def first_attack(results: dict[str, Any]) -> dict[str, Any]:
    attack: dict[str, Any] = results["entries"][0]["slices"]["population"]["attacks"]["loss"]
    return attack


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.update(title=3), "title is int '3'; it must be text"),
        (lambda r: r.update(entries={}), "entries is dict '{}'; it must be a list"),
        (lambda r: r.update(entries=[]), "entries is empty"),
        (lambda r: r.update(task=[]), r"task is list '\[\]'; it must be a table"),
        (lambda r: r.update(baseline="nobody"), "baseline is 'nobody'; the entries are undefended, PPTP"),
        (lambda r: r["entries"][1].update(label="undefended"), "entries share a label"),
        (lambda r: r["entries"][0].update(slices={}), "slices is empty"),
        (lambda r: r["entries"][0]["accuracy"]["test"].update(n=True), "n is bool 'True'; it must be int"),
        (lambda r: first_attack(r)["auc"].update(value=float("nan")), "value is nan; JSON has no such number"),
        (lambda r: first_attack(r)["auc"].update(low="0.5"), "low is str '0.5'; it must be number"),
        (lambda r: first_attack(r)["roc"].update(tpr=[0.0]), "need equal many"),
        (lambda r: first_attack(r)["tpr"].append({"fpr": 0.5}), "neither a value with n nor a refusal"),
        (lambda r: r["against"][0].update(entry="x"), "against compares 'x' with 'undefended'; the entries are"),
        (lambda r: r["entries"][0]["epsilon"].pop("n_guesses"), "neither all of low, delta"),
        (lambda r: r["entries"][0]["slices"]["canaries"].update(strongest="x"), "strongest is 'x'; its attacks are"),
    ],
)
def test_each_fault_is_named(spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    results = example(2)
    spoil(results)
    with pytest.raises(StoreError, match=message):
        check_results(results)
