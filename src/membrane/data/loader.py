"""Batches without worker processes: from the device's memory or, where data do not fit, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from membrane.data.examples import Examples
from membrane.data.inputs import Inputs, pieces

# What training does to network inputs (B, ...) before the model sees them, drawn from a CPU generator.
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """One batch on its device.

    Args:
        x: (B, ...) float32 network inputs, pixels in [0, 1].
        y: (B,) int64 labels.
        index: (B,) int64, position of each example in the training set, so a defense can weigh examples.
    """

    x: Tensor
    y: Tensor
    index: Tensor


def as_inputs(x: Tensor) -> Tensor:
    """Float32 network inputs of the same shape: pixels of images scaled to [0, 1], features as they are."""
    return x.float() / 255 if x.dtype == torch.uint8 and x.ndim == 4 else x.float()


def flip_and_crop(x: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Random horizontal flip, then a random crop out of the zero-padded image, each image its own draw.

    Args:
        x: (B, channels, height, width).
        generator: CPU generator.
        padding: Pixels on each side.
    """
    b, c, h, w = x.shape
    flip = torch.rand(b, generator=generator).to(x.device) < 0.5
    x = torch.where(flip.view(b, 1, 1, 1), x.flip(3), x)
    padded = torch.nn.functional.pad(x, (padding,) * 4)
    top, left = torch.randint(2 * padding + 1, (2, b, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(h, device=x.device)).view(b, 1, h, 1)
    columns = (left + torch.arange(w, device=x.device)).view(b, 1, 1, w)
    image = torch.arange(b, device=x.device).view(b, 1, 1, 1)
    channel = torch.arange(c, device=x.device).view(1, c, 1, 1)
    return padded[image, channel, rows, columns]


@dataclass(frozen=True)
class Loader:
    """A data set given out in batches on a device, the same ones wherever the data lie.

    Args:
        examples: What to give out.
        batch_size: B; a last batch smaller than half of it joins the one before (BatchNorm dislikes tiny batches).
        augment: Flip and crop, images only.
        device: Where batches live.
        room: Bytes of inputs that may lie there during an epoch; more are moved batch by batch. By default half of what
            a CUDA device has free; on other devices what is in memory is moved whole, and what is on disk is not.
    """

    examples: Examples
    batch_size: int
    augment: bool = False
    device: torch.device = torch.device("cpu")
    room: int | None = None

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """One pass in random order."""
        x, y = self._inputs(), self.examples.y.to(self.device)
        order = torch.randperm(len(y), generator=generator)
        for index in batches_of(order, self.batch_size):
            yield self._batch(x, y, index, generator)

    def _batch(self, x: Inputs, y: Tensor, index: Tensor, generator: torch.Generator) -> Batch:
        """The examples of an index (B,), as they are given out, from all inputs and labels."""
        inputs = as_inputs((x[index.to(x.device)] if isinstance(x, Tensor) else x[index]).to(self.device))
        if self.augment and len(index):
            inputs = flip_and_crop(inputs, generator)
        return Batch(inputs, y[index.to(self.device)], index)

    def _inputs(self) -> Inputs:
        """All inputs on the device if they may lie there, else where they are."""
        x = self.examples.x
        room = _room(self.device) if self.room is None else self.room
        if room is None or x.nbytes > room:
            return x.to(self.device) if room is None and isinstance(x, Tensor) else x
        if isinstance(x, Tensor):
            return x.to(self.device)
        there, start = torch.empty(x.shape, dtype=x.dtype, device=self.device), 0
        for piece in pieces(x):  # nowhere else is there room for all of it
            there[start : start + len(piece)] = piece
            start += len(piece)
        return there

    def __len__(self) -> int:
        return len(batches_of(torch.arange(len(self.examples)), self.batch_size))


def _room(device: torch.device) -> int | None:
    """Half of the bytes that a CUDA device can still give; None elsewhere."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for later use
    return (torch.cuda.mem_get_info(device)[0] + kept) // 2


def batches_of(order: Tensor, batch_size: int) -> list[Tensor]:
    """``order`` cut into batches; a rest of less than half a batch joins the batch before it.

    >>> [len(b) for b in batches_of(torch.arange(10), 4)], [len(b) for b in batches_of(torch.arange(9), 4)]
    ([4, 4, 2], [4, 5])
    """
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and 2 * len(parts[-1]) < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
