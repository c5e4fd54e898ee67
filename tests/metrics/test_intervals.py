from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from membrane.core.errors import DataError, NotEnoughDataError, SettingError
from membrane.metrics import Interval, clopper_pearson


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 10), (1, 10), (5, 10), (9, 10), (10, 10), (37, 40000), (39999, 40000)]
)
def test_clopper_pearson_equals_scipy(successes: int, n: int, level: float) -> None:
    rate = clopper_pearson(successes, n, level)
    expected = binomtest(successes, n).proportion_ci(level, method="exact")
    assert (rate.successes, rate.n, rate.level) == (successes, n, level)
    assert rate.value == successes / n
    assert rate.low == pytest.approx(expected.low, rel=1e-9, abs=1e-14)
    assert rate.high == pytest.approx(expected.high, rel=1e-9)
    assert rate.low <= rate.value <= rate.high


def test_clopper_pearson_refuses_nonsense() -> None:
    with pytest.raises(NotEnoughDataError, match="at least 1 trial"):
        clopper_pearson(0, 0)
    for successes in (-1, 11):
        with pytest.raises(DataError, match="0 to 10"):
            clopper_pearson(successes, 10)
    for level in (0.0, 1.0, 95.0, math.nan):
        with pytest.raises(SettingError, match=r"0\.95 means"):
            clopper_pearson(1, 10, level)


def test_interval_excludes() -> None:
    interval = Interval(0.2, 0.1, 0.3, 0.95, "by hand", 16)
    assert [interval.excludes(x) for x in (0.0, 0.1, 0.2, 0.3, 0.4)] == [True, False, False, False, True]
    assert not replace(interval, low=math.nan, high=math.nan).excludes(0.0)
    assert not replace(interval, low=-math.inf).excludes(-1e9)
