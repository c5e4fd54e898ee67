"""Training that stops being finite: when, at which learning rate, and whether the loss or the weights went first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from membrane.core.errors import SettingError, TrainingError
from membrane.regions import copy_state
from membrane.regions.trail import Trail
from membrane.training.recipe import Recipe


class DivergedError(TrainingError):
    """Loss or weights stopped being finite.

    Args:
        message: What happened, and what to change.
        epoch: In which epoch, counted from 0.
        last_good: Weights and buffers after the epoch before; None in the first one, or if the trail lacks them.
    """

    def __init__(self, message: str, epoch: int, last_good: dict[str, Tensor] | None) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.last_good = last_good

    def __reduce__(self) -> tuple[type[DivergedError], tuple[str, int, dict[str, Tensor] | None]]:
        """How it passes from one process to another."""
        return type(self), (str(self), self.epoch, self.last_good)


class Watch:
    """Looks at losses and weights of one training, and changes nothing.

    Args:
        recipe: For what to say.
        model: In training.
        trail: Its history, where the last good weights come from.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, trail: Trail) -> None:
        self._recipe, self._model, self._trail = recipe, model, trail
        self._last_loss: float | None = None

    def loss(self, loss: Tensor, x: Tensor, epoch: int, batch: int, n_batches: int) -> None:
        """Look at the loss of a batch before its update is made.

        On an accelerator this would wait for each batch; there only ``ending`` looks.

        Raises:
            DivergedError: If it is not finite.
        """
        if loss.device.type != "cpu":
            return
        if not torch.isfinite(loss):
            rate = self._recipe.lr_at(epoch * n_batches + batch, n_batches)
            where = f"in epoch {epoch} of {self._recipe.epochs}, batch {batch} of {n_batches}, learning rate {rate:.3g}"
            raise self._error(epoch, where, self._cause(float(loss.detach()), x))
        self._last_loss = float(loss.detach())

    @contextmanager
    def ending(self, total: Tensor, epoch: int, n_batches: int) -> Iterator[None]:
        """Look at an epoch's summed loss, and at what its end, inside, does to the weights.

        Raises:
            DivergedError: If either is not finite.
        """
        rate = self._recipe.lr_at((epoch + 1) * n_batches - 1, n_batches)
        where = f"in epoch {epoch} of {self._recipe.epochs}, learning rate {rate:.3g} at its end"
        if not torch.isfinite(total):
            raise self._error(epoch, where, self._cause(float(total), None))
        try:
            yield
        except TrainingError as problem:
            raise self._error(epoch, where, self._weights() or str(problem)) from problem

    def _cause(self, loss: float, x: Tensor | None) -> str:
        before = "" if self._last_loss is None else f"; one batch before it was {self._last_loss:.3g}"
        if weights := self._weights():
            return f"{weights}, so the loss is {loss:g}{before}"
        if x is not None and not torch.isfinite(x).all():
            return f"the batch's inputs hold NaN or infinity, so the loss is {loss:g}"
        largest = max((float(value.detach().abs().max()) for value in self._model.parameters()), default=0.0)
        return f"the loss is {loss:g} although all weights are finite (the largest is {largest:.3g}){before}"

    def _weights(self) -> str:
        """Which weights are not finite; empty if all are."""
        bad = [name for name, value in self._model.named_parameters() if not torch.isfinite(value).all()]
        n = sum(1 for _ in self._model.parameters())
        return f"the weights went first: {bad[0]!r} holds NaN or infinity ({len(bad)} of {n} tensors)" if bad else ""

    def _error(self, epoch: int, where: str, cause: str) -> DivergedError:
        good = self._last_good()
        kept = "" if good is None else f" The weights after epoch {epoch - 1} are the error's `last_good`."
        return DivergedError(
            f"training diverged {where}: {cause}. Lower lr (it is {self._recipe.lr}) or the defense's strength.{kept}",
            epoch,
            good,
        )

    def _last_good(self) -> dict[str, Tensor] | None:
        with suppress(SettingError):  # none kept
            good = self._trail.at(self._trail.n_epochs - 1)
            return {name: good.get(name, value) for name, value in copy_state(self._model).items()}
        return None
