"""Progress on the terminal: a bar with the time left; plain lines where the output goes to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from membrane.core.text import duration

_QUIET_SECONDS = 30.0  # between two lines in a file


class Bar:
    """A ``Progress`` that shows itself on standard error; use as a context manager.

    The time left is reckoned from what is being done: models that are read back from an earlier run count as done,
    but not as work. What is told before anything is done (an estimate) is shown at once and stays.

    Args:
        quiet: Show nothing.
        clock: Seconds that never go back, whatever happens to the time of day.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock = quiet, clock
        self._start = self._last = clock()
        self._read_back = 0.0
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            shape = "{desc} {percentage:3.0f} % {bar} {elapsed} so far{postfix}"
            self._bar = tqdm(total=1.0, bar_format=shape, smoothing=0, file=sys.stderr, leave=False, dynamic_ncols=True)

    def __call__(self, what: str, done: float, total: float) -> None:
        """Show that ``done`` of ``total`` are done."""
        if self._quiet:
            return
        share = min(done / total, 1.0) if total else 1.0
        if what.endswith("stored models"):
            self._start, self._read_back = self._clock(), share
        if share == 0 and self._bar is not None:
            self._bar.write(what, file=sys.stderr)
        elif share == 0:
            print(what, file=sys.stderr, flush=True)
        elif self._bar is not None:
            self._bar.set_description_str(what, refresh=False)
            self._bar.set_postfix_str(self._left(share), refresh=False)
            self._bar.update(max(share - self._bar.n, 0.0))
        elif self._clock() - self._last >= _QUIET_SECONDS:
            self._last = self._clock()
            print(f"{share:4.0%}  {what}, {self._left(share)}", file=sys.stderr, flush=True)

    def _left(self, share: float) -> str:
        worked = share - self._read_back
        if worked <= 0:
            return "time left unknown yet"
        return f"about {duration((self._clock() - self._start) * (1 - share) / worked)} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
