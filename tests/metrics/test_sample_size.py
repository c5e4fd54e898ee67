from __future__ import annotations

import math

import pytest
from scipy.stats import binom, binomtest

from membrane.core.errors import SettingError
from membrane.metrics import non_members_to_measure, non_members_to_show


@pytest.mark.parametrize("fpr", [0.5, 0.1, 0.01, 0.001, 1e-5])
@pytest.mark.parametrize("false_positives", [0, 1, 10])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_number_shown_is_the_first_at_which_so_few_would_be_a_surprise(
    fpr: float, false_positives: int, level: float
) -> None:
    """The binomial tail itself: a mechanism with exactly this rate accuses so few with a chance below 1 - level."""
    n = non_members_to_show(fpr, false_positives=false_positives, level=level)
    assert binom.cdf(false_positives, n, fpr) <= 1 - level
    assert binom.cdf(false_positives, n - 1, fpr) > 1 - level


def test_with_none_accused_it_is_a_logarithm() -> None:
    for fpr in (0.3, 0.01, 1e-4):
        assert non_members_to_show(fpr) == math.ceil(math.log(0.05) / math.log1p(-fpr))


@pytest.mark.parametrize("fpr", [0.3, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("relative_error", [2.0, 1.0, 0.5, 0.2])
def test_number_measured_is_the_first_whose_interval_fits(fpr: float, relative_error: float) -> None:
    """Every smaller number of accused is tried, with scipy's interval."""
    n = non_members_to_measure(fpr, relative_error)

    def fits(accused: int) -> bool:
        low, high = binomtest(accused, math.ceil(accused / fpr)).proportion_ci(0.95, method="exact")
        return fpr * (1 - relative_error) <= low and high <= fpr * (1 + relative_error)

    first = next(accused for accused in range(1, 1000) if fits(accused))
    assert n == math.ceil(first / fpr)


def test_nonsense_is_refused() -> None:
    for fpr in (0.0, 1.0, math.nan):
        for ask in (lambda fpr: non_members_to_show(fpr), lambda fpr: non_members_to_measure(fpr, 0.5)):
            with pytest.raises(SettingError, match="fpr is"):
                ask(fpr)
    with pytest.raises(SettingError, match="false_positives is -1"):
        non_members_to_show(0.1, false_positives=-1)
    with pytest.raises(SettingError, match="level is 1"):
        non_members_to_show(0.1, level=1.0)
    for relative_error in (0.0, math.inf, math.nan):
        with pytest.raises(SettingError, match="relative_error is"):
            non_members_to_measure(0.1, relative_error)
