"""Arithmetic on a network's weights, region by region: swap, mix, average, rewind, freeze.

Weights travel as plain state dicts (name to tensor). Floating-point parameters and buffers mix; integer
buffers (BatchNorm's batch counter) always stay those of the first operand. Normalization statistics
must be recomputed after any of these, see ``recalibrate``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from membrane.core.errors import ModelError, SettingError
from membrane.regions.partition import Partition, plain_state, unwrap

State = Mapping[str, Tensor]


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy of a model's weights and buffers on the CPU, tied ones once."""
    return {key: value.detach().to("cpu", copy=True) for key, value in plain_state(model).items()}


def load_state(model: nn.Module, state: State) -> None:
    """Put weights into the model, in place.

    Raises:
        ModelError: If names or shapes do not match, listing the first that differ.
    """
    own = plain_state(model)
    wrong = sorted(set(own) ^ set(state)) or [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        raise ModelError(
            f"these weights belong to another network: {len(wrong)} names or shapes differ, first {wrong[:3]}."
        )
    if odd := [key for key in own if state[key].is_complex() and not own[key].is_complex()]:
        raise ModelError(f"these weights are complex numbers in {odd[0]!r}, where the network has real ones.")
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(state[key])


def mix(
    base: State, other: State, keep: float | Mapping[str, float | Tensor], keys: Collection[str]
) -> dict[str, Tensor]:
    """``keep * base + (1 - keep) * other`` on ``keys``, ``base`` elsewhere.

    Args:
        base: Weights that are kept to the share ``keep``.
        other: Weights that fill the rest.
        keep: From 0 to 1, for all keys or by key; a tensor broadcasts against the weight (per channel).
        keys: Names to mix. At keep 1 and 0 the ends come back bit for bit.

    Raises:
        SettingError: If ``keep`` lies outside 0 to 1.
    """
    mixed = dict(base)
    for key in keys:
        if base[key].is_floating_point() and key in other:  # a trail has no sums of constant buffers
            share = keep[key] if isinstance(keep, Mapping) else keep
            mixed[key] = _between(base[key], other[key], share, key)
    return mixed


def _between(base: Tensor, other: Tensor, share: float | Tensor, key: str) -> Tensor:
    exact_type = torch.promote_types(base.dtype, torch.float32)
    share = torch.as_tensor(share, dtype=exact_type)
    if not bool(((share >= 0) & (share <= 1)).all()):
        raise SettingError(f"{key}: the share to keep is {share.tolist()}; it must lie between 0 and 1.")
    a, b = base.to(exact_type), other.to(exact_type)
    mean = share * a + (1 - share) * b
    # Exact ends whatever the rounding, and whatever inf the unused end may hold.
    return torch.where(share == 1, a, torch.where(share == 0, b, mean)).to(base.dtype)


def swap(a: State, b: State, keys: Collection[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """``a`` with ``b``'s values on ``keys``, and ``b`` with ``a``'s, integer buffers included."""
    chosen = set(keys)
    return (
        {key: (b if key in chosen else a)[key] for key in a},
        {key: (a if key in chosen else b)[key] for key in b},
    )


def average(states: Collection[State]) -> dict[str, Tensor]:
    """Mean of several networks' weights; integer buffers of the first.

    Raises:
        SettingError: If there is nothing to average.
    """
    if not states:
        raise SettingError("there are no weights to average.")
    first, *rest = states
    return {
        key: (sum((s[key].double() for s in rest), first[key].double()) / len(states)).to(first[key].dtype)
        if first[key].is_floating_point()
        else first[key]
        for key in first
    }


@contextmanager
def frozen(model: nn.Module, partition: Partition, regions: Collection[str]) -> Iterator[None]:
    """Keep regions unchanged while the rest trains: no gradients, BatchNorm by its running statistics.

    Parameters that were trainable are trainable again afterwards. A call to ``model.train()`` inside is
    harmless: frozen normalization layers run in evaluation mode in every forward pass. Gradients that the
    frozen parameters hold are dropped, so that no optimizer moves them by what it remembers.
    """
    keys = partition.keys(regions)
    inner = unwrap(model)
    parameters = [p for key, p in inner.named_parameters() if key in keys and p.requires_grad]
    hooks = [
        hook
        for name, module in inner.named_modules()
        if isinstance(module, _NormBase) and (f"{name}.running_mean" if name else "running_mean") in keys
        for hook in _evaluated_in_forward(module)
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in parameters:
            parameter.requires_grad_(True)


def _evaluated_in_forward(module: nn.Module) -> list[RemovableHandle]:
    """Evaluation mode during every forward pass, the module's own mode before and after."""
    modes: list[bool] = []

    def enter(module: nn.Module, _inputs: object) -> None:
        modes.append(module.training)
        module.training = False

    def leave(module: nn.Module, _inputs: object, _outputs: object) -> None:
        module.training = modes.pop()

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]


def random_channels(base: State, share: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Keep-shares that edit a random ``share`` of the channels of every layer: the equal-count control.

    For each weight the first axis is its channels; a layer's bias and statistics follow its weight. The
    expected number of edited parameters is ``share`` of all, the same as that of a region set holding
    that share.

    Returns:
        By key, 0.0 for channels to edit and 1.0 for channels to keep, broadcastable against the weight.
    """
    masks: dict[tuple[str, int], Tensor] = {}
    shares: dict[str, Tensor] = {}
    for key, value in base.items():
        if not value.is_floating_point():
            continue
        n = value.shape[0] if value.ndim else 1
        layer = (key.rpartition(".")[0], n)
        if layer not in masks:
            # Rounded up or down by chance: rounding to the nearest would never edit a small share of few channels.
            n_edited = int(share * n + float(torch.rand((), generator=generator)))
            masks[layer] = torch.ones(n).index_fill_(0, torch.randperm(n, generator=generator)[:n_edited], 0.0)
        shares[key] = masks[layer].view(-1, *[1] * (value.ndim - 1)) if value.ndim else masks[layer][0]
    return shares
