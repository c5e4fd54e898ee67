"""What makes a user's training function the same function as in an earlier run."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from membrane.core.errors import SettingError
from membrane.core.settings import fingerprint


def identity(train: Callable[..., object]) -> str:
    """Name, source and bound settings of a function or callable object.

    Seen are arguments bound by ``functools.partial``, default values, attributes of a callable object and what
    a closure holds, as far as they are settings (numbers, texts, tuples, dataclasses) or functions themselves.
    Not seen are code that it calls elsewhere, and lists, arrays or modules that it holds: after changing those,
    use a new folder.

    Raises:
        SettingError: If it has no source that can be read.
    """
    return _identity(train, frozenset())


def _identity(train: Callable[..., object], outer: frozenset[int]) -> str:
    if id(train) in outer:
        return "itself"  # a function that calls itself holds itself in its closure
    outer |= {id(train)}
    if isinstance(train, functools.partial):
        return "\n".join([_identity(train.func, outer), *_settings(train.args, outer), *_named(train.keywords, outer)])
    try:
        source = inspect.getsource(train if inspect.isroutine(train) else type(train))
    except (OSError, TypeError) as problem:
        raise SettingError(
            "train() has no source that can be read; define it in a file, or pass a Recipe."
        ) from problem
    name = f"{getattr(train, '__module__', '')}.{getattr(train, '__qualname__', '')}"
    return "\n".join([name, source, *_bound(train, outer)])


def _bound(train: Callable[..., object], outer: frozenset[int]) -> Iterator[str]:
    if not inspect.isroutine(train):
        yield from _named(getattr(train, "__dict__", {}), outer)
        return
    yield from _named(getattr(getattr(train, "__self__", None), "__dict__", {}), outer)
    function = inspect.unwrap(train)
    yield from _settings(getattr(function, "__defaults__", None) or (), outer)
    yield from _named(getattr(function, "__kwdefaults__", None) or {}, outer)
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # a cell that is not filled yet
            yield _setting(cell.cell_contents, outer)


def _settings(values: Iterable[object], outer: frozenset[int]) -> Iterator[str]:
    return (_setting(value, outer) for value in values)


def _named(values: dict[str, object], outer: frozenset[int]) -> Iterator[str]:
    return (f"{name}={_setting(value, outer)}" for name, value in values.items())


def _setting(value: object, outer: frozenset[int]) -> str:
    """A text that changes with the value, if the value is a setting; else the name of its type."""
    if inspect.isfunction(value) or isinstance(value, functools.partial):
        return _identity(value, outer)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if value is None or isinstance(value, str | int | float | tuple) or dataclasses.is_dataclass(value):
        with suppress(SettingError):
            return fingerprint(value)
    return type(value).__qualname__
