from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

if not SCRIPTS.is_dir():
    pytest.skip("benchmarks are in the repository, not in the source distribution", allow_module_level=True)

from benchmarks.coverage import coverage, empty_bounds  # noqa: E402
from benchmarks.known import known  # noqa: E402


@pytest.mark.parametrize("permuted", [True, False])
def test_intervals_cover_what_they_say_on_line_ups_of_real_attacks(permuted: bool) -> None:
    found = coverage(16, 400, 1.5, permuted, 80, np.random.default_rng(0))
    assert len(found) == 8
    assert {key: rate.value for key, rate in found.items() if rate.low > 0.97 or rate.high < 0.93} == {}


def test_no_leakage_has_no_epsilon() -> None:
    assert {
        name: rate.value for name, rate in empty_bounds(120, np.random.default_rng(1)).items() if rate.low > 0.05
    } == {}


def test_known_values_are_found() -> None:
    found = list(known(np.random.default_rng(2), 40_000))
    assert len(found) == 12
    assert [one for one in found if one.is_off] == []
    assert max(one.error for one in found) < 0.02
