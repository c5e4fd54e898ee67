"""Pages of the documentation that are made from the code say what the code says now."""

from __future__ import annotations

from pathlib import Path

import pytest

from membrane.attacks import ATTACKS
from membrane.cli import main
from membrane.pptp import DEFENSES

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("kind", ["attacks", "defenses", "estimators", "recipes"])
def test_the_page_is_that_of_the_code(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--markdown"]) == 0
    made = capsys.readouterr().out
    assert (DOCS / f"{kind}.md").read_text() == made, f"make it anew: membrane list {kind} --markdown > docs/{kind}.md"


def test_every_attack_has_a_section_with_its_differences(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "attacks", "--markdown"])
    made = capsys.readouterr().out
    assert all(f"\n## {name}\n" in made for name in ATTACKS)
    assert "Where we differ: P is the plain softmax probability" in made
    assert "- `gamma` (`1.0`): How many times more" in made


def test_every_defense_has_its_facts_and_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "defenses", "--markdown"])
    made = capsys.readouterr().out
    rows = {line.split("`")[1]: line for line in made.splitlines() if line.startswith("| [`")}
    assert set(rows) == set(DEFENSES)
    assert all(" times the training, " in row for row in rows.values())
    assert made.count("Known not to stop: ") == len(DEFENSES)
    assert made.count("This is a reading: ") == sum(DEFENSES.entry(name).reading for name in DEFENSES)
    assert "Costs are over the undefended network, to about a tenth: 500 digits" in made
