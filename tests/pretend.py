"""A device that is not there: it computes on the CPU, and keeps the rules that a GPU keeps.

Tensors on it refuse to be mixed with the CPU's where CUDA refuses, cannot be read as arrays, and draw from no generator
of the CPU. Everything else has the value that it has on the CPU, so code that depends on values runs through.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
_CPU = torch.device("cpu")
_MAY_MIX = {"aten::_to_copy", "aten::copy_"}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_"}  # by indices of the CPU, too


_OWN: set[int] = set()  # seeds, because every call sees another object


class MixedDevicesError(RuntimeError):
    """What CUDA would have refused."""


class Pretended(Tensor):
    """A tensor that says it lies elsewhere."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type[Pretended], inner: Tensor) -> Pretended:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], _meta: None, _size: object, _stride: object) -> Pretended:
        return Pretended(inner["inner"])

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.inner})"

    def tolist(self) -> Any:  # noqa: ANN401 -- numbers, nested; CUDA gives them
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, op: OpOverload, _types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        return _computed(op, args, dict(kwargs or {}))


class _Everywhere(TorchDispatchMode):
    """Sees what is made on the device, where no tensor of it is among the arguments yet."""

    def __torch_dispatch__(
        self, op: OpOverload, _types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401
        return _computed(op, args, dict(kwargs or {}))


def _computed(op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    name = op._schema.name
    leaves = tree_leaves((args, kwargs))
    there = [one for one in leaves if isinstance(one, Pretended)]
    to = next((one for one in leaves if isinstance(one, torch.device)), None)
    on_it = bool(there) if to is None else to.type == NAME
    if name == "aten::copy_":
        on_it = isinstance(args[0], Pretended)
    _refuse(name, args, leaves, there, on_it)
    if not (there or on_it):
        return op(*args, **kwargs)
    with torch.inference_mode(mode=False):  # a wrapper would count the changes of a tensor that counts none
        found = op(*tree_map(_inside, args), **tree_map(_inside, kwargs))
        if name == "aten::_local_scalar_dense":
            return found
        if op._schema.is_mutable:
            return _same(found, leaves)
        return tree_map(lambda one: Pretended(one) if isinstance(one, Tensor) and on_it else one, found)


def _refuse(name: str, args: tuple[Any, ...], leaves: list[Any], there: list[Pretended], on_it: bool) -> None:
    drawn = [one for one in leaves if isinstance(one, torch.Generator) and one.initial_seed() not in _OWN]
    if drawn and on_it:
        raise MixedDevicesError(f"{name}: a generator of the CPU draws on the device")
    here = [one for one in leaves if isinstance(one, Tensor) and not isinstance(one, Pretended) and one.ndim]
    if not (there and here) or name in _MAY_MIX:
        return
    if name in _INDEXED and isinstance(args[0], Pretended) and not (len(args) > 2 and any(args[2] is h for h in here)):
        return
    raise MixedDevicesError(f"{name}: tensors of the device and of the CPU")


def _inside(one: Any) -> Any:  # noqa: ANN401
    if isinstance(one, Pretended):
        return one.inner
    return _CPU if isinstance(one, torch.device) and one.type == NAME else one


def _same(found: Any, leaves: list[Any]) -> Any:  # noqa: ANN401
    """What an operation that changes its arguments gives back: those, not copies."""
    outer = {id(_inside(one)): one for one in leaves if isinstance(one, Tensor)}
    device_of_new = any(isinstance(one, Pretended) for one in leaves)

    def back(one: Any) -> Any:  # noqa: ANN401
        if not isinstance(one, Tensor):
            return one
        return outer[id(one)] if id(one) in outer else (Pretended(one) if device_of_new else one)

    return tree_map(back, found)


@functools.cache
def registered() -> None:
    """Tell torch that there is such a device, once for the process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    module = SimpleNamespace(
        is_initialized=lambda: True,
        is_available=lambda: True,
        current_device=lambda: 0,
        device_count=lambda: 1,
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
        get_amp_supported_dtype=lambda: [torch.bfloat16],
    )
    _setup_privateuseone_for_python_backend(NAME, module)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, as long as it can be computed on."""
    registered()
    with _Everywhere():
        yield torch.device(NAME, 0)


def own_generator(seed: int) -> torch.Generator:
    """A generator of the device."""
    _OWN.add(seed)
    return torch.Generator().manual_seed(seed)
