"""What makes a user's training function the same function as in an earlier run."""

from __future__ import annotations

import builtins
import copyreg
import functools
import hashlib
import importlib
import inspect
import secrets
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from membrane.core.errors import SettingError
from membrane.training.origins import globals_of, imports_of, library_of, names_of, published, source_of

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), TypeVar)
_BY_NAME = (eval, exec, globals, __import__, importlib, importlib.import_module)  # code from a text: anything may run
_HEAP_TYPE = 1 << 9  # made by a class statement or by type(), not by C


def identity(train: Callable[..., object]) -> str:
    """Hash that stays the same, in any process, as long as a function or callable object does the same.

    Seen are its source and bytecode, and what it holds in default values, closures, ``functools.partial`` and
    attributes; then every function, class, module and setting that it names, and so on through the user's code.
    Values count by content: containers, arrays, tensors, paths, dataclasses, modules of torch, all that can be
    copied. Libraries, and this package, count by name and version.

    A function that holds or names something without such content (an open file, a lock), or looks code up by a
    text (``eval``, ``exec``, ``globals``, ``importlib``), is not reusable: each call then returns another hash.
    Not seen are files, environment variables, what is set in libraries from outside of the function, and, of a
    module that is kept in a container or read by ``getattr``, more than its own file: after changing those, use a
    new folder.

    Raises:
        SettingError: If it has no source that can be read.
    """
    function: object = train
    while isinstance(function, functools.partial):
        function = function.func
    if not source_of(function if inspect.isroutine(function) else type(function)):
        raise SettingError("train() has no source that can be read; define it in a file, or pass a Recipe.")
    content = _Content({})
    try:
        content.add(train)
    except RecursionError:
        content.unknown()
    return content.digest.hexdigest()


class _Content:
    """Hash over everything within reach of a value; what was met before is named by its number, so cycles end."""

    def __init__(self, met: Mapping[object, tuple[int, object]]) -> None:
        self.digest = hashlib.sha256()
        self.met = dict(met)  # holds the values too: an id is unique only while its object lives

    def put(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
            self.digest.update(b"%d:%b" % (len(data), data))  # with its length, so that ab, c is not a, bc

    def unknown(self) -> None:
        self.put(secrets.token_hex(16))  # only names, and never reaches a training

    def add(self, value: object, names: frozenset[str] = frozenset()) -> None:
        """Take a value in; ``names`` are the attributes that may be read from it if it is a module."""
        kind = type(value)
        key = (id(value), names) if isinstance(value, types.ModuleType) else id(value)
        if kind in _PLAIN:
            self.put(kind.__name__, repr(value))
        elif isinstance(value, tuple) and kind is tuple:  # not numbered: equal constants may be one object or two
            self._all("tuple", value)
        elif isinstance(value, set | frozenset) and kind in (set, frozenset):
            self.put(kind.__name__, len(value), *sorted(self._apart(item) for item in value))
        elif key in self.met:
            self.put("met", self.met[key][0])
        else:
            self.met[key] = (len(self.met), value)
            self._new(value, names)

    def _new(self, value: object, names: frozenset[str]) -> None:
        if any(value is one for one in _BY_NAME):
            self.unknown()
        elif isinstance(value, types.ModuleType):
            self._module(value, names)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._all("method", (value.__func__, value.__self__))
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, list) and type(value) is list:
            self._all("list", value)
        elif isinstance(value, dict | types.MappingProxyType) and type(value) in (dict, types.MappingProxyType):
            self._all("dict", tuple(value.items()))
        elif isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, property):
            self._all("property", (value.fget, value.fset, value.fdel))
        elif isinstance(value, staticmethod | classmethod):
            self._all(type(value).__name__, (value.__func__,))
        elif isinstance(value, functools.cached_property):
            self._all("cached", (value.func,))
        else:
            self._object(value)

    def _all(self, kind: str, values: tuple[object, ...] | list[object]) -> None:
        self.put(kind, len(values))
        for value in values:
            self.add(value)

    def _apart(self, item: object) -> str:
        """Hash of a set's item that does not depend on the items before it."""
        content = _Content(self.met)
        content.add(item)
        return content.digest.hexdigest()

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> None:
        library, file = library_of(module.__name__), getattr(module, "__file__", None)
        self.put("module", library)
        if library:
            return
        try:
            self.put(Path(file).read_bytes() if file else "no file")
        except OSError:
            self.unknown()
        for name in sorted(name for name in names if hasattr(module, name)):
            self.put(name)
            self.add(getattr(module, name), names)

    def _function(self, function: types.FunctionType) -> None:
        home = str(function.__globals__.get("__name__"))
        library = library_of(home)
        self.put("function", function.__qualname__, library or source_of(function))
        if library and published(home, function):
            return
        names = names_of(function.__code__)
        self._code(function.__code__, None if library else function.__globals__, names)
        self._all("bound", (function.__defaults__, function.__kwdefaults__, vars(function)))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents, names)
            except ValueError:  # not filled yet
                self.put("empty")

    def _code(self, code: types.CodeType, scope: dict[str, object] | None, names: frozenset[str]) -> None:
        self.put("code", code.co_code, code.co_exceptiontable, code.co_flags, code.co_names, code.co_varnames)
        self.put(code.co_freevars, code.co_cellvars, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, scope, names)
            else:
                self.add(constant)
        if scope is None:
            return
        for name in globals_of(code):
            self.put(name)
            self.add(scope.get(name, vars(builtins).get(name)), names)
        for name, wanted, level in imports_of(code):
            try:
                self.add(__import__(name, scope, None, wanted, level), names)
            except ImportError:
                self.put("missing", name)

    def _class(self, cls: type) -> None:
        library = library_of(str(cls.__module__))
        self.put("class", cls.__qualname__, library or source_of(cls))
        if library and (published(cls.__module__, cls) or not cls.__flags__ & _HEAP_TYPE):
            return
        self._all("bases", (type(cls), *cls.__bases__))
        for name, value in vars(cls).items():
            runs = callable(value) or inspect.isroutine(value)
            if runs or not name.startswith(("__", "_abc_impl")):  # no line numbers, module names, ...
                self.put(name)
                self.add(value)

    def _tensor(self, value: torch.Tensor) -> None:
        self.put("tensor", value.dtype, tuple(value.shape), value.device, value.requires_grad)
        self.add(type(value))
        try:
            plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
            self.put(plain.flatten().view(torch.uint8).numpy().tobytes())
        except (RuntimeError, TypeError):  # sparse, on no device, ...
            self.unknown()

    def _object(self, value: object) -> None:
        """Any other object: its class and the state that a copy of it is made from."""
        self.add(type(value))
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            state = reduce(value) if reduce else value.__reduce_ex__(4)
            parts = state if isinstance(state, str) else [list(p) if isinstance(p, Iterator) else p for p in state]
        except Exception:  # objects refuse to be copied in many ways
            self.unknown()
            return
        if isinstance(parts, list):
            self._all("object", parts)
            return
        library = library_of(str(getattr(value, "__module__", None) or type(value).__module__))
        self.put("named", parts, library)
        if hasattr(value, "__wrapped__"):  # a cache around a function
            self.add(value.__wrapped__)
        elif not library:
            self.unknown()
