"""Low-rank adaptation: a weight matrix moves only by a product of two thin ones.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, with alpha equal to the
rank (scale 1). Theirs keeps the product beside the frozen weight and merges both at the end. Here they are merged after
every update: the model is at all times the user's own class with the weights that would be released, and its trail
records these. The updates are the same, by the chain rule; memory for the gradient of the whole matrix is not saved.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from membrane.regions.partition import unwrap


class LowRank:
    """``weight = start + up @ down`` for some of a model's weights, from the optimizer's next update on.

    Args:
        weights: Matrices (n_out, n_in) to adapt; set to need a gradient, and not to be given to the optimizer.
        rank: Of the product; cut to the smaller side of a matrix.
        generator: Draws ``down``, normal with variance 1 / n_in; ``up`` is zero, so that nothing moves at first.
    """

    def __init__(self, weights: Collection[nn.Parameter], rank: int, generator: torch.Generator) -> None:
        self._weights = list(weights)
        self._start = [weight.detach().clone() for weight in self._weights]
        self._down: list[nn.Parameter] = []
        self._up: list[nn.Parameter] = []
        for weight in self._weights:
            n_out, n_in = weight.shape
            thin = min(rank, n_out, n_in)
            down = torch.randn(thin, n_in, generator=generator) / n_in**0.5
            self._down.append(nn.Parameter(down.to(weight)))
            self._up.append(nn.Parameter(weight.new_zeros(n_out, thin)))
            weight.requires_grad_(True)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer moves in place of the weights."""
        return [*self._down, *self._up]

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Hand gradients to the optimizer before each of its updates and merge after it."""
        optimizer.register_step_pre_hook(lambda *_: self._hand_on())
        optimizer.register_step_post_hook(lambda *_: self._merge())

    @torch.no_grad()
    def _hand_on(self) -> None:
        for weight, down, up in zip(self._weights, self._down, self._up, strict=True):
            gradient = weight.grad
            down.grad = None if gradient is None else up.T @ gradient
            up.grad = None if gradient is None else gradient @ down.T
            weight.grad = None  # the optimizer, which does not know it, would leave it to add up

    @torch.no_grad()
    def _merge(self) -> None:
        for weight, start, down, up in zip(self._weights, self._start, self._down, self._up, strict=True):
            weight.copy_(start + up @ down)


def linear_weights(model: nn.Module, keys: Collection[str]) -> list[nn.Parameter]:
    """Weights of the linear layers among the state-dict names ``keys``; of a shared one, the first."""
    layers = [f"{name}.weight" for name, layer in unwrap(model).named_modules() if isinstance(layer, nn.Linear)]
    parameters = dict(unwrap(model).named_parameters())
    return [parameters[key] for key in layers if key in keys and key in parameters]
