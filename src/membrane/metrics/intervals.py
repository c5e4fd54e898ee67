"""Values that carry their uncertainty: a counted rate, and an estimate with an interval."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import betaincinv

from membrane.core.errors import DataError, NotEnoughDataError, SettingError


@dataclass(frozen=True)
class Rate:
    """A share of counted trials with its interval.

    Args:
        successes: Trials that came out so.
        n: All trials.
        value: ``successes / n``, between 0 and 1.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Coverage the interval aims at (0.95 means 95 %).
    """

    successes: int
    n: int
    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Interval:
    """An estimate with an interval.

    Args:
        value: The estimate on all data; NaN where there is none, and ``note`` says why.
        low: Lower end; NaN if there is no interval, minus infinity if it is open.
        high: Upper end; NaN if there is no interval, infinity if it is open.
        level: Coverage the interval aims at (0.95 means 95 %).
        method: How the ends were found.
        n_clusters: Models that were resampled as wholes; few of them make the interval too short.
        note: What a reader has to know before trusting it; empty if nothing.
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    n_clusters: int
    note: str = ""

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside; always False if there is no interval."""
        return value < self.low or value > self.high


def check_level(level: float) -> None:
    """Refuse a coverage that is not strictly between 0 and 1.

    Raises:
        SettingError: If it is not.
    """
    if not 0 < level < 1:  # written this way round so that NaN is refused too
        raise SettingError(f"level is {level}; it must lie between 0 and 1 (0.95 means 95 %).")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Rate:
    """The rate ``successes / n`` with its exact binomial interval.

    Covers at least ``level`` of the time if the trials are independent. Trials that share a model or
    an example are not; there the interval is too short and the cluster bootstrap is the honest one.

    Source: Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits Illustrated in the
    Case of the Binomial", Biometrika 26(4), 404-413.

    Raises:
        DataError: If ``successes`` is not between 0 and ``n``.
        NotEnoughDataError: If ``n`` is below 1.
        SettingError: If ``level`` is not strictly between 0 and 1.

    >>> rate = clopper_pearson(8, 10)
    >>> f"{rate.value:.2f} from {rate.low:.3f} to {rate.high:.3f}"
    '0.80 from 0.444 to 0.975'
    """
    check_level(level)
    if n < 1:
        raise NotEnoughDataError(f"A rate needs at least 1 trial; there are {n}.")
    if not 0 <= successes <= n:
        raise DataError(f"There are {successes} successes in {n} trials; there must be 0 to {n}.")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Rate(int(successes), int(n), successes / n, low, high, level)
