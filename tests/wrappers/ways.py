"""Ways in which people train: one small loop, wrapped, averaged, scaled or scheduled as they do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from membrane.core.generators import torch_generator
from membrane.data.loader import Loader
from membrane.models import ResNet
from membrane.regions import Trail, copy_state, partition
from tests.small import task

EPOCHS, BATCH = 3, 100


@dataclass(frozen=True)
class Way:
    """How a loop differs from the plain one.

    Args:
        name: For the test's name.
        wrap: What the model is trained inside of; undone, if need be, when the loop ends.
        device: Where.
        ema: Average the weights along training; the average is what is followed and released.
        autocast: Type of the forward pass.
        scale: First scale of a gradient scaler, if there is one.
        overflow: Each epoch's second loss is so large that the scaler skips the update.
        schedule: The learning rate follows a scheduler.
    """

    name: str
    wrap: Callable[[nn.Module], contextlib.AbstractContextManager[nn.Module]] = contextlib.nullcontext
    device: str = "cpu"
    ema: bool = False
    autocast: torch.dtype | None = None
    scale: float | None = None
    overflow: bool = False
    schedule: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass
class Walk:
    """A finished loop: the model as its owner holds it, its trail, and all that was seen on the way."""

    model: nn.Module
    trail: Trail
    updates: list[list[dict[str, Tensor]]] = field(default_factory=list)  # by epoch, weights after each update
    n_skipped: int = 0


def fresh() -> nn.Module:
    return ResNet((8, 8, 16), (1, 1, 1)).build(task().members(0), torch_generator(0))


def start_partition() -> tuple[str, ...]:
    return partition(fresh(), torch.zeros(2, *task().members(0).x.shape[1:])).names


@contextlib.contextmanager
def walked(way: Way) -> Iterator[Walk]:
    """Train in this way; what wraps the model lives until the block ends."""
    device = torch.device(way.device)
    plain = fresh().to(device)
    with way.wrap(plain) as model:
        followed: nn.Module = model
        if way.ema:
            followed = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 100) if way.schedule else None
        scaler = torch.amp.GradScaler(way.device, init_scale=way.scale or 1.0, enabled=way.scale is not None)
        # The average moves after the optimizer's update, so its owner counts it then; else the hook does.
        walk = Walk(followed, Trail(followed, keep=None, optimizer=None if way.ema else optimizer))
        loader, order = Loader(task().members(0), BATCH, device=device), torch_generator(0, "order")
        for _ in range(EPOCHS):
            model.train()
            walk.updates.append([])
            for i, batch in enumerate(loader.epoch(order)):
                optimizer.zero_grad()
                with torch.autocast(device.type, way.autocast, enabled=way.autocast is not None):
                    loss = F.cross_entropy(model(batch.x).float(), batch.y)
                scaler.scale(loss * 1e30 if way.overflow and i == 1 else loss).backward()
                before = scaler.get_scale()
                scaler.step(optimizer)
                scaler.update()
                if scaler.get_scale() < before:
                    walk.n_skipped += 1
                    continue
                if way.ema:
                    followed.update_parameters(model)  # type: ignore[operator]
                    walk.trail.accumulate()
                if scheduler is not None:
                    scheduler.step()
                walk.updates[-1].append(copy_state(followed))
            walk.trail.snapshot()
        yield walk
