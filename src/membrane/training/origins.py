"""Where code comes from, a library or the user, and what it reads."""

from __future__ import annotations

import dis
import functools
import importlib.metadata
import inspect
import platform
import sys
import sysconfig
import types
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

_STANDARD = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_MEMBRANE = Path(__file__).parents[1]


def library_of(name: str) -> str | None:
    """Name and version of the library that a module belongs to; None for a module of the user."""
    top = sys.modules.get(name.partition(".")[0])
    module = sys.modules.get(name, top)
    if module is None or name in ("__main__", "__mp_main__"):
        return None
    file = getattr(module, "__file__", None) or getattr(top, "__file__", None)
    if file is None:
        found = getattr(getattr(module, "__spec__", None), "origin", None) in ("built-in", "frozen")
    else:
        path = Path(file)
        installed = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
        found = installed or any(path.is_relative_to(root) for root in (*_STANDARD, _MEMBRANE))
    return f"{name} {_version(top)}" if found else None


def _version(top: types.ModuleType | None) -> str:
    try:
        return str(getattr(top, "__version__", None) or importlib.metadata.version(getattr(top, "__name__", "")))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return platform.python_version()


def home_of(function: object) -> str | None:
    """Folder that has to be on the import path for the function's module to be found; None if nothing has."""
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__module__", type(function).__module__))
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or name == "__main__" or library_of(name):
        return None
    path = Path(file).absolute()
    return str(path.parents[name.count(".") + (path.name == "__init__.py")])


@contextmanager
def importable(folder: str | None) -> Iterator[None]:
    """Inside, modules of the folder are found before all others; of None, nothing changes."""
    if folder is None:
        yield
        return
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def published(module: str, value: types.FunctionType | type) -> bool:
    """Whether a module has the value under its own name; else it was made at run time and may hold anything."""
    try:
        return attrgetter(value.__qualname__)(sys.modules[module]) is value
    except (AttributeError, KeyError):
        return False


def names_of(code: types.CodeType) -> frozenset[str]:
    """Every global and attribute that the code, functions inside of it included, may read."""
    inner = (names_of(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(code.co_names).union(*inner)


def globals_of(code: types.CodeType) -> Iterator[str]:
    """Global names that the code itself reads; not its module's name, which differs between processes."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") and step.argval != "__name__":
            yield step.argval


def imports_of(code: types.CodeType) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Import statements in the code: module, names after ``from ... import``, number of leading dots."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            yield step.argval, names.argval or (), level.argval


def source_of(value: object) -> str:
    """Source text, empty if there is none to read."""
    try:
        return inspect.getsource(value)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
