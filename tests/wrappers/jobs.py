"""One rank of a training in two processes, and the same training in one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from membrane.core.generators import torch_generator
from membrane.data.loader import Loader
from membrane.models import ResNet
from membrane.regions import Trail
from tests.training.jobs import examples

EPOCHS = 3


def two_ranks(folder: Path, rank: int) -> None:
    """Train half of every batch, save this rank's trail; rank 0 also trains whole batches alone."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    train(DistributedDataParallel(fresh()), slice(rank, None, 2)).save(folder / str(rank))
    torch.distributed.destroy_process_group()
    if rank == 0:
        train(fresh(), slice(None)).save(folder / "plain")


def fresh() -> nn.Module:
    # GroupNorm: statistics of half a batch would make the two trainings differ.
    return ResNet((4, 8, 8), (1, 1, 1), "group").build(examples(64), torch_generator(0))


def train(model: nn.Module, share: slice) -> Trail:
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    trail, order = Trail(model, keep=None, optimizer=optimizer), torch_generator(0, "order")
    for _ in range(EPOCHS):
        for batch in Loader(examples(64), 16).epoch(order):
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x[share]), batch.y[share]).backward()
            optimizer.step()
        trail.snapshot()
    return trail
