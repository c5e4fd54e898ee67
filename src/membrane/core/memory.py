"""Memory that runs out: how it shows in an error, and how much there is."""

from __future__ import annotations

import gc
import sys
import traceback
from pathlib import Path

import torch

if sys.platform != "win32":
    import resource

# torch has no class of its own for the processor's memory, and its libraries say it in words of their own.
_SAID = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "could not create a memory object")


def ran_out(problem: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that memory ran out."""
    link: BaseException | None = problem
    while link is not None:
        if isinstance(link, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(link, RuntimeError) and any(words in str(link) for words in _SAID):
            return True
        link = link.__cause__
    return False


def let_go(problem: BaseException) -> None:
    """Free what the failed calls behind an error still hold, so that less can be tried."""
    link: BaseException | None = problem
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device, as far as the system tells; None if it does not.

    On the processor the least of what the machine, its control group and the process's own limit leave.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [left for left in (_machine(), _group(), _own()) if left is not None]
    return max(min(found), 0) if found else None


def _machine() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group() -> int | None:
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _own() -> int | None:
    if sys.platform == "win32":
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _read("/proc/self/statm").split()
    return limit - int(pages[0]) * resource.getpagesize() if limit != resource.RLIM_INFINITY and pages else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
