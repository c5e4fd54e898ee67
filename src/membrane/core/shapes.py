"""What a JSON value must look like, and what is wrong with one: every mistake at once, by its path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {"number": (int, float), "int": (int,), "text": (str,), "yes/no": (bool,)}


def mistakes_of(value: Any, shape: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 -- any JSON value
    """What about a JSON value does not fit a shape, one sentence each, by its path.

    Args:
        value: Whatever a file held.
        shape: Of it: the kind of a leaf ("number", "int", "text", "yes/no"; with "?" it may be null), a list of the one
            shape that every item has, or a dict of what must be there by name ("?" behind it: may be missing or null;
            "*": any name).
        path: Of the value.

    >>> list(mistakes_of({"n": "one", "low": None}, {"n": "int", "low?": "number", "names": ["text"]}))
    ["n is str 'one'; it must be int.", 'names is missing.']
    """
    if isinstance(shape, str):
        yield from _leaf(value, shape, path)
    elif isinstance(shape, list):
        if not isinstance(value, list | tuple):
            yield f"{path} is {_kind(value)}; it must be a list."
            return
        for i, item in enumerate(value):
            yield from mistakes_of(item, shape[0], f"{path}[{i}]")
    elif not isinstance(value, Mapping):
        yield f"{path} is {_kind(value)}; it must be a table of named values."
    else:
        yield from _parts(value, shape, path)


def _parts(value: Mapping[str, Any], shape: Mapping[str, Any], path: str) -> Iterator[str]:
    names = value if "*" in shape else shape
    for name in names:
        key, inner = name.removesuffix("?"), shape.get("*", shape.get(name))
        where = f"{path}.{key}" if path else key
        if name.endswith("?") and "*" not in shape and value.get(key) is None:
            continue
        if key in value or "*" in shape:
            yield from mistakes_of(value[name if "*" in shape else key], inner, where)
        else:
            yield f"{where} is missing."


def _leaf(value: Any, kind: str, path: str) -> Iterator[str]:  # noqa: ANN401 -- any JSON value
    if value is None and kind.endswith("?"):
        return
    wanted = kind.removesuffix("?")
    if not isinstance(value, _KINDS[wanted]) or (isinstance(value, bool) and wanted != "yes/no"):
        yield f"{path} is {_kind(value)}; it must be {wanted}."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; JSON has no such number, write null."


def _kind(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
