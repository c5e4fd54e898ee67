from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.is_dir(), reason="benchmarks are in the repository, not in the source distribution"),
]


def run(script: str, *arguments: str) -> str:
    """What the script printed; its last problems are shown if it found any."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kills_at_any_moment_lose_and_repeat_nothing_and_change_no_bit(tmp_path: Path) -> None:
    said = run("kills.py", str(tmp_path), "--kills", "12")
    assert "together: 12 kills sent" in said
    assert "\n0 problems\n" in said
    assert not list(tmp_path.iterdir())


def test_killed_workers_are_replaced_and_nothing_finished_is_lost_or_repeated(tmp_path: Path) -> None:
    said = run("kills.py", str(tmp_path), "--engine", "processes", "--kills", "8")
    assert "together: 8 kills sent" in said
    assert int(re.search(r"and (\d+) a worker", said)[1]) > 0  # type: ignore[index]
    assert "\n0 problems\n" in said


def test_two_writers_that_are_killed_and_a_reader_get_along(tmp_path: Path) -> None:
    said = run("two_writers.py", str(tmp_path), "--minutes", str(10 / 60))
    assert "\n0 problems\n" in said
    assert not list(tmp_path.iterdir())
