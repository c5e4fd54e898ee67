"""A network that a user holds, where a recipe wants an entry of the zoo."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from membrane.data.examples import Examples
from membrane.models.model import Model


@dataclass(frozen=True, eq=False)
class GivenNetwork(Model):
    """Copies of a network as it is, weights and buffers included; for further trainings, and in no catalogue.

    Args:
        net: Inputs (B, ...) to logits (B, C); never changed.
    """

    name: ClassVar[str] = "given"

    net: nn.Module

    def network(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        """A copy, whatever the inputs."""
        return copy.deepcopy(self.net)

    def build(self, members: Examples, generator: torch.Generator) -> nn.Module:
        """A copy; nothing is drawn and nothing is fitted to the members."""
        return copy.deepcopy(self.net)
