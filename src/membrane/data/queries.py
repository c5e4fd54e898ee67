"""Augmented queries: the same example asked in several ways, because models learn more by heart than single pixels.

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", arXiv:2112.03570, who ask for the
image and its mirror image; mirror images times shifts by one pixel as in the code of Zarifzadeh et al. 2024,
arXiv:2312.03262. The example as it is always comes first.

They tell more of models that were trained on such images. Where training augments nothing, what a model knows of a
mirrored image is mostly noise, and averaging over ways weakens the attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from membrane.data.examples import Examples

Queries = Literal["identity", "mirror", "shifts"]


@dataclass(frozen=True)
class Way:
    """One way to ask for images (B, C, H, W): shifted, what is beyond the edge reflected, then mirrored.

    Args:
        mirror: Left to right.
        down: Pixels by which the image moves down; up if negative.
        right: Pixels by which it moves to the right.
    """

    mirror: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The images in this way; inputs of other shapes only as they are."""
        if self == AS_IT_IS:
            return x
        x = x[..., _reflected(x.shape[-2], self.down, x.device), :][..., _reflected(x.shape[-1], self.right, x.device)]
        return x.flip(-1) if self.mirror else x


AS_IT_IS = Way()


def _reflected(n: int, shift: int, device: torch.device) -> Tensor:
    """Which of ``n`` rows stands in each place after a shift; the row at the edge is not repeated."""
    rows = (torch.arange(n, device=device) - shift).abs()
    return (n - 1) - ((n - 1) - rows).abs()


def ways(queries: Queries) -> tuple[Way, ...]:
    """The Q ways in which each example is asked.

    Args:
        queries: "identity" (1), "mirror" (2: as it is, mirrored), or "shifts" (18: both of these, each in 3 x 3
            shifts by one pixel or none).

    >>> [len(ways(queries)) for queries in ("identity", "mirror", "shifts")]
    [1, 2, 18]
    """
    mirrors = (False,) if queries == "identity" else (False, True)
    steps = (0, 1, -1) if queries == "shifts" else (0,)
    return tuple(Way(mirror, down, right) for mirror in mirrors for down in steps for right in steps)


def query_mistakes(queries: str, examples: Examples | None = None, called: str = "queries") -> list[str]:
    """What is wrong with a setting, and with asking for these examples in this way, a sentence each."""
    if queries not in get_args(Queries):
        return [f"{called} is {queries!r}; it must be one of {', '.join(get_args(Queries))}."]
    if queries == "identity" or examples is None:
        return []
    shape = tuple(examples.x.shape[1:])
    if len(shape) == 3 and min(shape[1:]) >= 2:
        return []
    return [f"{called} is {queries!r}, for images of 2 x 2 pixels or more; inputs are {shape}. Use 'identity'."]
