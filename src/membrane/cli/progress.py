"""Progress on the terminal: a bar with the time left; plain lines where the output goes to a file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from membrane.cli.text import duration

_QUIET_SECONDS = 30.0  # between two lines in a file


class Bar:
    """A ``Progress`` that shows itself on standard error; use as a context manager.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            shape = "{desc} {percentage:3.0f} % {bar} {elapsed} so far, {remaining} left"
            self._bar = tqdm(total=1.0, bar_format=shape, smoothing=0, file=sys.stderr, leave=False, dynamic_ncols=True)

    def __call__(self, what: str, done: float, total: float) -> None:
        """Show that ``done`` of ``total`` are done."""
        share = min(done / total, 1.0) if total else 1.0
        if self._bar is not None:
            self._bar.set_description_str(what, refresh=False)
            self._bar.update(max(share - self._bar.n, 0.0))
        elif not self._quiet and time.monotonic() - self._last >= _QUIET_SECONDS:
            self._last = time.monotonic()
            gone = self._last - self._start
            left = f", about {duration(gone * (1 - share) / share)} left" if share else ""
            print(f"{share:4.0%}  {what}{left}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
