from __future__ import annotations

import re

import pytest

from membrane.core.errors import StoreError
from membrane.report import to_markdown
from tests.report.example import example


def tables_in(text: str) -> list[list[list[str]]]:
    """Cells of every pipe table; an escaped pipe does not part cells."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block] for block in blocks]


def test_every_defense_has_a_row_with_n_and_interval() -> None:
    defenses, changes, comparisons, single, epsilon = tables_in(to_markdown(example()))
    assert all(len(row) == len(defenses[0]) for row in defenses)
    assert [row[0] for row in defenses[2:]] == [entry["label"] for entry in example()["entries"]]
    assert defenses[2][1] == "52.8 % [52.5–53.2] (42,248 of 80,000)"
    assert "Population TPR at 1 % FPR" in defenses[0]
    assert defenses[2][5] == "0.954(1) [0.950–0.958] (78,400 + 77,600)"
    assert defenses[2][-1].startswith("not resolvable: needs at least 10,000 non-members")
    assert [row[0] for row in changes[2:]] == [entry["label"] for entry in example()["entries"][1:]]
    assert changes[5][1:3] == ["+2.3 [+1.9 to +2.7]", "−0.284 [−0.289 to −0.279]"]
    assert single[2][4] == "61.0 % (17.0 % by chance)"
    assert epsilon[2][4] == "2.31 (95 % sure, delta 0.00001)"
    assert comparisons[2][3] == "−0.092 [−0.098 to −0.086] (8 models)"


def test_footnotes_verdict_and_limits_are_there() -> None:
    text = to_markdown(example())
    assert "(1) too few models to cluster: 8 &lt; 16" in text
    assert "- PPTP: lower measured leakage" in text
    assert "What this does not show:" in text


def test_labels_cannot_break_the_table_or_bring_markup() -> None:
    results = example(2)
    results["entries"][1]["label"] = "a | b\n<script>alert(1)</script> [x](javascript:y) **c**"
    results["against"][0]["entry"] = results["entries"][1]["label"]
    text = to_markdown(results)
    assert "<script>" not in text
    rows = tables_in(text)[0]
    assert len({len(row) for row in rows}) == 1
    assert rows[3][0] == r"a \| b &lt;script&gt;alert(1)&lt;/script&gt; \[x\](javascript:y) \*\*c\*\*"


def test_one_entry_has_no_comparisons() -> None:
    assert len(tables_in(to_markdown(example(1)))) == 3  # the entry, its single examples, its epsilon


def test_what_is_not_ours_is_refused() -> None:
    with pytest.raises(StoreError, match="not a results file"):
        to_markdown({})
