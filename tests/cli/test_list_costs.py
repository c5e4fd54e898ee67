"""What an attack costs stands where attacks are listed."""

from __future__ import annotations

import pytest

from membrane.attacks import ATTACKS
from membrane.cli.app import main
from membrane.cli.list import entries


def test_every_attack_says_who_can_make_it_and_what_it_takes() -> None:
    listed = {one["name"]: one for one in entries(ATTACKS)}
    assert all(one["threat_model"] and one["source"] and one["queries"] >= 1 for one in listed.values())
    assert listed["loss"]["queries"] == 1
    assert listed["reveal"]["queries"] == 3  # the model and two copies
    assert listed["rmia_taylor"]["queries"] == 18
    assert {name for name, one in listed.items() if "trains" in one} >= {"reveal", "white_box", "loss_trajectory"}
    assert "trains" not in listed["lira"]


def test_the_text_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "attacks"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "asks for each example 18 times" in out
    assert "trains: two copies of every model" in out
