"""What each region of a network hands on: its output for every example, read by hooks in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from membrane.core.errors import ModelError
from membrane.data.inputs import Inputs, pieces
from membrane.data.loader import as_inputs
from membrane.models.signals import device_of, evaluating, forward
from membrane.regions.partition import Partition, unwrap


def region_outputs(model: nn.Module, cut: Partition, x: Inputs, batch_size: int = 125) -> Iterator[list[Tensor]]:
    """Batch by batch, each region's output (B, D), float32 on the CPU, regions in running order.

    A region's output is that of the module that ends last of those whose weights all lie in the region: of a block
    the block itself, activations and shortcuts inside it included. Positions of images and sequences are averaged.

    Args:
        model: In whatever mode; it runs in evaluation mode.
        cut: Its partition.
        x: (N, ...).
        batch_size: Memory against speed.

    Raises:
        ModelError: If a region gives no tensor with a row for each input.
    """
    network = unwrap(model)
    seen: dict[int, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(_noting(seen, region))
        for name, region in _holders(network, cut).items()
    ]
    device = device_of(network)
    try:
        for inputs in pieces(x, batch_size):
            seen.clear()
            with evaluating(network):
                forward(network, as_inputs(inputs.to(device)))
            yield [_checked(seen.get(i), region.name, len(inputs)) for i, region in enumerate(cut.regions)]
    finally:
        for hook in hooks:
            hook.remove()


def _holders(network: nn.Module, cut: Partition) -> dict[str, int]:
    """Modules whose weights lie all in one region, and which."""
    owner = {key: i for i, region in enumerate(cut.regions) for key in region.keys}
    held = {}
    for name, _ in network.named_modules():
        prefix = f"{name}." if name else ""
        regions = {region for key, region in owner.items() if key.startswith(prefix)}
        if len(regions) == 1:
            held[name] = regions.pop()
    return held


def _noting(seen: dict[int, Tensor], region: int) -> Any:  # noqa: ANN401 -- a hook
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
        if isinstance(output, Tensor):
            seen[region] = output

    return note


def _checked(output: Tensor | None, name: str, n: int) -> Tensor:
    if output is None or output.ndim < 2 or len(output) != n:
        got = "no tensor" if output is None else f"a tensor of shape {tuple(output.shape)} for {n} inputs"
        raise ModelError(f"region {name!r} gives {got}; reading it needs one with a row for each input.")
    return _pooled(output.float().cpu())


def _pooled(output: Tensor) -> Tensor:
    """(B, D): the mean over positions, channels first (B, D, H, W) or last (B, H, W, D) or a sequence (B, T, D)."""
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]
        return output.mean((1, 2) if channels_last else (2, 3))
    return output.mean(1) if output.ndim == 3 else output.flatten(1)
