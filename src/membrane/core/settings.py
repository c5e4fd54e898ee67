"""Settings are the fields of frozen dataclasses: to plain JSON values and back, every mistake at once."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from membrane.core.errors import SettingError, collected, raise_all

T = TypeVar("T")
Make = Callable[[type[Any], Any, str], Any]  # (dataclass, plain settings, what it is called in errors) to an object

_hints = functools.cache(typing.get_type_hints)  # slow, and the same each time


def to_plain(value: Any) -> Any:  # noqa: ANN401 -- settings hold any JSON-like value
    """JSON-ready form of a settings value: dataclasses become mappings with their ``name`` first.

    Raises:
        SettingError: If something in it is neither a dataclass nor a JSON value.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        name = getattr(type(value), "name", None)
        return {"name": name, **plain} if isinstance(name, str) else plain
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise SettingError(f"{value!r} cannot be a setting; use numbers, strings, booleans, lists or dataclasses.")


def fingerprint(value: Any) -> str:  # noqa: ANN401
    """First 16 hex digits of the SHA-256 of the canonical JSON of ``value``.

    Raises:
        SettingError: If it holds NaN, infinity or something that is no setting.
    """
    try:
        text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as problem:
        raise SettingError(f"{value!r} holds NaN or infinity, which cannot be a setting.") from problem
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_ranges(of: object, called: str = "", **fits: tuple[bool, str]) -> None:
    """Refuse settings that do not fit.

    Args:
        of: Whose fields they are.
        called: What mistakes begin with.
        fits: By setting: whether its value fits (write comparisons so that NaN does not), and what it must be.

    Raises:
        SettingError: Listing every setting that does not.
    """
    raise_all(
        f"{called}{setting} is {getattr(of, setting)!r}; it must be {rule}."
        for setting, (ok, rule) in fits.items()
        if not ok
    )


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """The sentence ``Did you mean 'x'? `` (with a space after it), or nothing if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def build(cls: type[T], settings: Mapping[str, Any], what: str, make: Make | None = None) -> T:
    """Instance of the dataclass ``cls`` from plain settings.

    Args:
        cls: A dataclass; its fields are the known settings.
        settings: Plain values by field name. A field that is itself a dataclass takes a mapping.
        what: How to call it in an error, such as ``"attack 'loss'"``.
        make: Builds the dataclasses inside; this function if not given.

    Raises:
        SettingError: Listing every unknown name, missing value and wrong type at once.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = _hints(cls)  # type: ignore[arg-type]  # classes are hashable
    has = f"It has: {', '.join(fields)}." if fields else "It has no settings."
    mistakes = [
        f"{what} has no setting {name!r}. {did_you_mean(name, fields)}{has}" for name in settings if name not in fields
    ]
    required = dataclasses.MISSING
    mistakes += [
        f"{what} needs a value for {name!r}."
        for name, field in fields.items()
        if name not in settings and field.default is required and field.default_factory is required
    ]
    values = {}
    for name in (name for name in settings if name in fields):
        with collected(mistakes):
            values[name] = _coerce(settings[name], hints[name], f"{what}: {name}", make or build)
    mistakes += [
        f"{what}: {name} is {value!r}; it must be {_describe(hints[name])}."
        for name, value in values.items()
        if not _fits(value, hints[name])
    ]
    raise_all(mistakes)
    return cls(**values)


def _coerce(value: Any, hint: Any, what: str, make: Make) -> Any:  # noqa: ANN401
    """TOML and JSON know lists, integers and tables; make tuples, floats and dataclasses where the field says so."""
    tuples = [option for option in _options(hint) if typing.get_origin(option) is tuple or option is tuple]
    if isinstance(value, list) and tuples:
        inner = typing.get_args(tuples[0])
        items = enumerate(value, 1)
        return (
            tuple(_coerce(item, inner[0], f"{what}, number {i}", make) for i, item in items) if inner else tuple(value)
        )
    if isinstance(value, Mapping) and isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return make(hint, value, what)
    if isinstance(value, int) and not isinstance(value, bool) and _accepts(hint, float) and not _accepts(hint, int):
        try:
            return float(value)
        except OverflowError:  # stays whole, and is then refused as not being a number that fits
            return value
    return value


def _coerce_all(values: list[Any], hint: Any, what: str, make: Make) -> tuple[Any, ...]:  # noqa: ANN401
    mistakes: list[str] = []
    made = []
    for i, value in enumerate(values, 1):
        with collected(mistakes):
            made.append(_coerce(value, hint, f"{what}, number {i}", make))
    raise_all(mistakes)
    return tuple(made)


def _accepts(hint: Any, kind: type) -> bool:  # noqa: ANN401
    return hint is kind or kind in typing.get_args(hint)


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Whether a plain value fits a simple annotation; annotations it does not know are left to the class."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint in (int, float):  # no setting is NaN or infinite: it could not be kept with the results
        number = isinstance(value, hint) and not isinstance(value, bool)
        return number and (hint is int or math.isfinite(value))
    if hint in (bool, str, type(None)) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return isinstance(value, hint)
    return True


def _describe(hint: Any) -> str:  # noqa: ANN401
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", type(None): "nothing"}
    if typing.get_origin(hint) is tuple:
        return f"a list, each item {_describe(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "a table of settings"
    options = _options(hint)
    return " or ".join(_describe(option) if len(options) > 1 else names.get(option, str(option)) for option in options)


def _options(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The annotations that a union allows; of anything else, itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
