"""Cut any network into 4 to 12 regions, in the order in which they run.

The cut follows the network's own structure: it starts at the top-level children, opens the largest
while there are fewer than four or it holds more than four fifths of the parameters, and lets modules
without weight matrices (normalization, scales) join their neighbour. No layer name is known to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from membrane.core.errors import ModelError, SettingError
from membrane.core.settings import did_you_mean
from membrane.models.signals import device_of, evaluating, forward

_FEWEST, _MOST = 4, 12  # regions
_DOMINATES = 0.8  # share of the parameters above which a region is opened although there are enough


_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


@dataclass(frozen=True)
class Region:
    """A named group of a network's parameters and buffers.

    Args:
        name: Path of its (first) module, such as ``"stage3"`` or ``"blocks.0"``.
        keys: Names in the state dict.
        n_parameters: Numbers in its parameters (buffers not counted).
    """

    name: str
    keys: tuple[str, ...]
    n_parameters: int


@dataclass(frozen=True)
class Partition:
    """Ordered regions; every parameter and buffer of the network is in exactly one."""

    regions: tuple[Region, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order in which the regions run."""
        return tuple(region.name for region in self.regions)

    @property
    def n_parameters(self) -> int:
        """Parameters of the whole network, tied ones once."""
        return sum(region.n_parameters for region in self.regions)

    def keys(self, names: Iterable[str]) -> frozenset[str]:
        """State-dict names of the named regions.

        Raises:
            SettingError: If a region does not exist.
        """
        by_name = {region.name: region for region in self.regions}
        wanted = list(names)
        for name in wanted:
            if name not in by_name:
                hint = did_you_mean(name, by_name)
                raise SettingError(f"no region is called {name!r}. {hint}There are: {', '.join(by_name)}.")
        return frozenset(key for name in wanted for key in by_name[name].keys)

    def share(self, names: Iterable[str]) -> float:
        """Fraction of all parameters that the named regions hold."""
        chosen = set(names)
        return sum(r.n_parameters for r in self.regions if r.name in chosen) / max(self.n_parameters, 1)


@dataclass
class _Part:
    """A stretch of the network while it is being cut: the modules in it, and state held directly by a parent."""

    modules: list[tuple[str, nn.Module]]
    own: list[str]

    @property
    def name(self) -> str:
        return self.modules[0][0] or "all"


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict, tied weights once, without wrappers' prefixes (DDP's ``module.``, torch.compile's ``_orig_mod.``)."""
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in unwrap(model).state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            state[key] = value.detach()
    return state


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own module inside DDP, DataParallel and torch.compile wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, _WRAPPERS):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def partition(model: nn.Module, sample: Tensor | None = None) -> Partition:
    """Regions of ``model``.

    Args:
        model: Any module, wrapped or not.
        sample: A few inputs (B, ...); with them regions are in the order in which they run, without in
            the order in which they were registered.

    Raises:
        ModelError: If the model has no parameters.
    """
    model = unwrap(model)
    state = plain_state(model)
    sizes = {key: value.numel() for key, value in model.named_parameters()}
    if not sizes:
        raise ModelError("the model has no parameters, so it has no regions.")
    order = _running_order(model, sample)
    parts = _cut(model, state, sizes, order)
    regions = []
    for part in parts:
        keys = tuple(key for key in state if key in set(_keys(part, state)))
        regions.append(Region(part.name, keys, sum(sizes.get(key, 0) for key in keys)))
    return Partition(tuple(regions))


def _running_order(model: nn.Module, sample: Tensor | None) -> dict[str, int]:
    """First time at which each module ran; registration order without a sample."""
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    if sample is None:
        return order
    ran: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():

        def note(_module: nn.Module, _inputs: Any, name: str = name) -> None:  # noqa: ANN401
            ran.setdefault(name, len(ran))

        hooks.append(module.register_forward_pre_hook(note))
    try:
        with evaluating(model), torch.inference_mode():
            forward(model, sample.to(device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: ran.get(name, len(ran) + i) for name, i in order.items()}


def _keys(part: _Part, state: dict[str, Tensor]) -> list[str]:
    inside = [f"{name}." for name, _ in part.modules if name]
    everything = any(not name for name, _ in part.modules)
    return [key for key in state if everything or key in part.own or key.startswith(tuple(inside))]


def _size(part: _Part, state: dict[str, Tensor], sizes: dict[str, int]) -> int:
    return sum(sizes.get(key, 0) for key in _keys(part, state))


def _has_matrix(part: _Part, state: dict[str, Tensor]) -> bool:
    return any(state[key].ndim >= 2 for key in _keys(part, state))


def _open(part: _Part, state: dict[str, Tensor], order: dict[str, int]) -> list[_Part]:
    """A part's modules, or its only module's children, as they run; what it holds itself goes with the first matrix."""
    children, direct = list(part.modules), part.own
    if len(children) == 1:
        prefix, module = children[0]
        dot = f"{prefix}." if prefix else ""
        children = [(f"{dot}{name}", child) for name, child in module.named_children()]
        direct = direct + [key for key in state if key.startswith(dot) and "." not in key[len(dot) :]]
    pieces = [_Part([child], []) for child in sorted(children, key=lambda child: _when(child, order))]
    pieces = [piece for piece in pieces if _keys(piece, state)]
    weighty = [piece for piece in pieces if _has_matrix(piece, state)]
    if not weighty:
        return [part]
    weighty[0].own += direct
    if len(weighty) == 1:  # a wrapper around one thing: look inside, and keep its name if there is nothing to open
        inner = _open(weighty[0], state, order)
        if sum(_has_matrix(piece, state) for piece in inner) < 2:
            return [part]
        at = pieces.index(weighty[0])
        pieces[at : at + 1] = inner
    return pieces


def _when(child: tuple[str, nn.Module], order: dict[str, int]) -> int:
    """A container that is never called itself (ModuleList) runs when the first module inside it does.

    Of a module that is registered twice only the first name has an order; the second holds no weights of its own.
    """
    name, module = child
    inside = (f"{name}.{inner}" if inner else name for inner, _ in module.named_modules())
    return min((order[path] for path in inside if path in order), default=len(order))


def _cut(model: nn.Module, state: dict[str, Tensor], sizes: dict[str, int], order: dict[str, int]) -> list[_Part]:
    parts = [_Part([("", model)], [])]
    total = sum(sizes.values())
    closed: set[str] = set()
    while True:
        count = sum(_has_matrix(part, state) for part in parts)
        candidates = [i for i, part in enumerate(parts) if _has_matrix(part, state) and part.name not in closed]
        largest = max(candidates, key=lambda i: _size(parts[i], state, sizes), default=None)
        if largest is None or count >= _MOST:
            break
        if count >= _FEWEST and _size(parts[largest], state, sizes) <= _DOMINATES * total:
            break
        pieces = _open(parts[largest], state, order)
        if len(pieces) == 1:
            closed.add(parts[largest].name)
            continue
        parts[largest : largest + 1] = _bundle(_join_small(pieces, state), _MOST - count + 1, state, sizes)
    # The pieces of an opened list may run with those of another one in between.
    return _join_small(sorted(parts, key=lambda part: _when(part.modules[0], order)), state)


def _join_small(parts: list[_Part], state: dict[str, Tensor]) -> list[_Part]:
    """Parts without any weight matrix join the part before them; those before the first matrix join that one."""
    joined: list[_Part] = []
    early: list[_Part] = []
    for part in parts:
        if not joined and not _has_matrix(part, state):
            early.append(part)
        elif _has_matrix(part, state):
            joined.append(
                _Part(
                    [*part.modules, *(m for e in early for m in e.modules)],
                    part.own + [k for e in early for k in e.own],
                )
            )
            early = []
        else:
            joined[-1] = _Part(joined[-1].modules + part.modules, joined[-1].own + part.own)
    return joined or [_Part([m for e in early for m in e.modules], [k for e in early for k in e.own])]


def _bundle(pieces: Sequence[_Part], room: int, state: dict[str, Tensor], sizes: dict[str, int]) -> list[_Part]:
    """At most ``room`` bundles of neighbouring pieces, as even in parameters as a single sweep makes them."""
    if len(pieces) <= room:
        return list(pieces)
    bundles: list[_Part] = []
    left = sum(_size(piece, state, sizes) for piece in pieces)
    filled = 0
    for i, piece in enumerate(pieces):
        wanted = left / (room - len(bundles) + 1) if bundles else 0
        must_open = len(pieces) - i <= room - len(bundles)
        size = _size(piece, state, sizes)
        if not bundles or (len(bundles) < room and (must_open or filled + size / 2 > wanted)):
            left -= filled
            bundles.append(_Part(list(piece.modules), list(piece.own)))
            filled = size
            continue
        bundles[-1].modules += piece.modules
        bundles[-1].own += piece.own
        filled += size
    return bundles
