"""What reading a file must never do: start a program, unpickle, run code, import, or write outside of its folder."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ALLOWED = ("encodings", "PIL", "numpy", "scipy", "pyarrow", "own")  # may be imported late, parts of libraries at work
_NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pickle.find_class",
          "exec", "compile", "socket.connect", "socket.bind", "ctypes.dlopen", "os.startfile")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
            "shutil.rmtree", "shutil.move", "shutil.copyfile")  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooSlow(BaseException):
    """One input took longer than ``within`` allows; no Exception, so that no reader catches it."""


class Guard:
    """Notes, from an audit hook that stays for the life of the process, what should not happen while it is armed."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.place = ""
        self._armed = False
        self._modules: set[str] = set()
        self._installed = False

    @contextmanager
    def armed(self, place: Path) -> Iterator[None]:
        """Note what happens inside; files under ``place`` may be written."""
        if not self._installed:
            sys.addaudithook(self._hook)
            self._installed = True
        if len(self._modules) != len(sys.modules):
            self._modules = set(sys.modules)
        self.place, self._armed = str(place), True
        try:
            yield
        finally:
            self._armed = False
            new = set(sys.modules) - self._modules if len(sys.modules) != len(self._modules) else set()
            self.events += [f"import {one}" for one in sorted(new) if one.split(".")[0] not in ALLOWED]

    def taken(self) -> list[str]:
        """What was noted since the last call."""
        noted, self.events = self.events, []
        return noted

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and not self._inside(path):
                self.events.append(f"open {path!r} to write")
        elif event in ("exec", "compile") and sys._getframe(1).f_globals.get("__name__") == "typing":
            pass  # annotations of settings' classes, which are texts
        elif event == "ctypes.dlopen" and str(arguments[0]).startswith("libnvidia-ml.so"):
            pass  # a CUDA build of torch asks whether there is a device
        elif event in _NEVER or (event in _CHANGES and not self._inside(arguments[0])):
            self.events.append(f"{event} {arguments!r}"[:200])

    def _inside(self, path: object) -> bool:
        if isinstance(path, int):
            return True  # a descriptor of a file that was opened before
        return os.path.realpath(os.fsdecode(path)).startswith(self.place)  # type: ignore[arg-type]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TooSlow where the inside takes longer."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"took more than {seconds} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def limit_memory(more: int) -> None:
    """Let the process have so many bytes more of addresses than it has now."""
    now = _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def most_memory() -> int:
    """Bytes that the process held at most."""
    return _status("VmHWM")


def held_memory() -> int:
    """Bytes that the process holds."""
    return _status("VmRSS")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
