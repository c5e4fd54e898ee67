"""What happens when a long command is stopped: what is finished is shown, and how to go on is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from membrane.core.errors import MembraneError
from membrane.verbs import AuditStopped


@contextmanager
def stoppable(store: str, show: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and ``kill`` (SIGTERM) alike stop what runs inside, after what is finished was shown.

    Args:
        store: Path or URL of where finished models lie.
        show: Shows the partial audit that was written there.

    Raises:
        KeyboardInterrupt: With how to go on.
    """
    try:
        with _terminated_like_interrupted():
            yield
    except KeyboardInterrupt as stop:
        told = ""
        if isinstance(stop, AuditStopped):
            told = f" {stop}"
            if stop.audit is not None:
                show()
        kept = f"stopped.{told} Finished models are kept in {store}; the same command goes on from there."
        raise KeyboardInterrupt(kept) from None


@contextmanager
def interruptible(out: Path, show: Callable[[], None]) -> Iterator[None]:
    """The same for a comparison, of which whatever cells are finished can be shown.

    Args:
        out: Folder of the comparison.
        show: Shows what is finished.

    Raises:
        KeyboardInterrupt: With how to go on.
    """
    try:
        with _terminated_like_interrupted():
            yield
    except KeyboardInterrupt:
        with suppress(MembraneError):  # nothing is finished yet
            show()
        kept = f"stopped. Finished models and cells are kept in {out}; the same command goes on from there."
        raise KeyboardInterrupt(kept) from None


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
