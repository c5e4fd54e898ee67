"""Which weights of a network a training moves: all of them, some regions, low-rank adapters beside them."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError
from membrane.regions import frozen, partition
from membrane.training.lora import LowRank, linear_weights


class TrainedPart:
    """The part of a model that is trained; the rest stays exactly as it is, BatchNorm statistics included.

    Args:
        model: On its device. Regions outside of ``trainable`` are frozen until ``release``.
        trainable: Names of regions, see ``membrane.regions.partition``; None for the whole model.
        lora: Rank of the adapters on linear layers outside of those regions; 0 for none.
        sample: A few network inputs (B, ...), for the order of the regions.
        generator: Draws the adapters.

    Raises:
        SettingError: If a region does not exist, or there is no linear layer to adapt.
    """

    def __init__(
        self, model: nn.Module, trainable: tuple[str, ...] | None, lora: int, sample: Tensor, generator: torch.Generator
    ) -> None:
        self.parameters = list(model.parameters())  # for the optimizer
        self._frozen = ExitStack()
        self._adapters: LowRank | None = None
        if trainable is None:
            return
        cut = partition(model, sample)
        cut.keys(trainable)  # that they exist
        rest = [name for name in cut.names if name not in trainable]
        self._frozen.enter_context(frozen(model, cut, rest))
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if lora:
            weights = linear_weights(model, cut.keys(rest))
            if not weights:
                raise SettingError(
                    f"lora is {lora}, and no linear layer lies in {', '.join(rest) or 'what is frozen'}; low-rank "
                    "adapters are for linear layers. Set lora = 0, or train other regions."
                )
            self._adapters = LowRank(weights, lora, generator)
            self.parameters += self._adapters.parameters

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the adapters take part in the optimizer's updates; call before anything else hooks into these."""
        if self._adapters is not None:
            self._adapters.follow(optimizer)

    def release(self) -> None:
        """Thaw; the model is then an ordinary one of its own class."""
        self._frozen.close()
