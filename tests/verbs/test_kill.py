from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from membrane.core import Store
from tests.processes import finish, kill_at_random, start
from tests.verbs.jobs import run_audit

OUTPUTS = ("results.json", "scores.safetensors")


def stamps(out: Path) -> dict[str, int]:
    """When each finished thing was written: an entry exists when its JSON does."""
    return {str(path): path.stat().st_mtime_ns for path in (out / "store").glob("*/[!.]*.json")}


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_audit_goes_on_where_it_was_and_ends_with_the_same_bits(tmp_path: Path, kills: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(run_audit, tmp_path / "warm"))  # the first process also waits for the server's imports
    begin = time.perf_counter()
    finish(start(run_audit, whole))
    longest = time.perf_counter() - begin
    clock, hits = random.Random(0), 0
    for _ in range(kills):
        before = stamps(killed)
        hits += kill_at_random(start(run_audit, killed), clock, longest / 2)
        after = stamps(killed)
        assert {path: after.get(path) for path in before} == before  # nothing finished was lost or repeated
        assert Store(killed / "store").verify() == []
    assert hits >= kills / 4  # most kills have to hit a working process, or this shows nothing
    before = stamps(killed)
    finish(start(run_audit, killed))
    after = stamps(killed)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(stamps(whole)) == 4 + 2 * 4  # four trainings serve both defenses
    for name in OUTPUTS:
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
