"""What test processes with little memory do."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from membrane.core.errors import OutOfMemoryError
from membrane.core.store import write_json
from membrane.models import MLP, ResNet, signals_of
from membrane.training import Recipe, fit
from membrane.training.memory import measured
from tests.training.jobs import examples

MB = 1_000_000


@contextmanager
def memory_left(n_bytes: int) -> Iterator[None]:
    """So much more address space than the process has now."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Hungry(nn.Module):
    """Takes 4 MB for each input of a batch at once, and notes how many it was asked."""

    def __init__(self, each: int = MB) -> None:
        super().__init__()
        self.each = each
        self.weight = nn.Parameter(torch.eye(16)[:3].clone())
        self.asked: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        room = torch.ones(len(x), self.each)
        return x.flatten(1) @ self.weight.T * room[:, :1]


def refusal_of(recipe: Recipe, members: object) -> str:
    try:
        fit(recipe, members, None, 0)  # type: ignore[arg-type]
    except OutOfMemoryError as problem:
        return str(problem)
    return ""


def train_with_little_memory(out: Path) -> None:
    """A batch that does not fit, then the one that the error names."""
    torch.set_num_threads(1)
    members, small = examples(40_000), Recipe(model=ResNet((8,), (1,)), epochs=1)
    fit(small, members[:300], None, 0)  # everything is imported and set up before the limit
    large = Recipe(model=ResNet((64, 64), (1, 1)), epochs=1, batch_size=40_000, lr=0.01)
    with memory_left(700 * MB):
        said = refusal_of(large, members)
        named = int(said.partition("batch_size = ")[2].split()[0]) if said else 0
        again = refusal_of(dataclasses.replace(large, batch_size=named), members[:20_000])
    huge = Recipe(model=MLP(widths=(20_000, 20_000)), epochs=20)
    with memory_left(2_500 * MB):
        network = refusal_of(huge, members[:300])
    write_json(out, {"said": said, "named": named, "again": again, "network": network})


def measure_with_little_memory(out: Path) -> None:
    """Signals of a model that can take a few inputs at once, and of one that cannot take any."""
    torch.set_num_threads(1)
    some, model = examples(130), Hungry()
    plain = signals_of(Hungry(each=1), some)
    with memory_left(120 * MB):
        found = measured(model, some)
        try:
            measured(Hungry(each=100 * MB), some)
            said = ""
        except OutOfMemoryError as problem:
            said = str(problem)
    write_json(out, {"asked": model.asked, "same": bool((found.loss == plain.loss).all()), "said": said})
