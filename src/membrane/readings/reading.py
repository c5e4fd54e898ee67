"""What a reading is: something that is read off one model for every example, beyond the signals of its answers.

Attacks declare which they need. Each is taken once per model, stored beside its signals and shared by all attacks, so
an attack on labels, gradients or features is post-processing like any other: every model plays target, references say
what is normal, and intervals come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from membrane.core.errors import ModelError
from membrane.core.settings import fingerprint, to_plain
from membrane.data.examples import Examples

Reveals = Literal["labels", "scores", "weights"]  # what a model opens to an attacker, each more than the one before
Values = npt.NDArray[np.float32]


def distinct(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Each reading once, in the order in which they come."""
    return tuple({reading.key: reading for reading in readings}.values())


def most_open(asked: Iterable[Reveals]) -> Reveals:
    """The one of several that opens most."""
    return max(asked, key=get_args(Reveals).index)


def opens(reveals: str, asked: str) -> bool:
    """Whether a model that reveals one of ``Reveals`` answers what is asked of it, likewise."""
    levels = get_args(Reveals)
    return levels.index(reveals) >= levels.index(asked)


@dataclass(frozen=True)
class Reading:
    """Base class of the readings.

    A subclass writes ``of`` if every example is read by itself, or ``read`` if the population serves to read the pool
    (a regression that is fitted on it, say).
    """

    name: ClassVar[str]
    threat_model: ClassVar[Reveals]  # what the model must open
    min_population: ClassVar[int] = 0  # strangers that it cannot do without
    version: ClassVar[int] = 1  # raise when a change alters what is read; stored readings are then taken again

    @property
    def key(self) -> str:
        """What it is called in stores and banks; settings that differ make keys that differ."""
        return f"{self.name}-{fingerprint([to_plain(self), self.version])[:8]}"

    @property
    def queries(self) -> int:
        """Inputs that the model answers for each example."""
        return 1

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        """What would stop it on these data, one sentence each, known before any model is trained."""
        return []

    def columns(self, model: nn.Module, pool: Examples) -> tuple[str, ...]:
        """What the K numbers are, "readout stage1" say; empty where they have no names."""
        return ()

    def of(self, model: nn.Module, examples: Examples, generator: torch.Generator) -> npt.NDArray[np.floating]:
        """(N, K) read off the model for N examples.

        Args:
            model: In evaluation mode, on its device.
            examples: Inputs and labels as trained.
            generator: For what is drawn at random.
        """
        raise NotImplementedError

    def read(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """(N, K) and (Z, K), of the audited examples and of strangers; Z is 0 without a population."""
        of_pool = self.of(model, pool, generator)
        return of_pool, of_pool[:0] if population is None else self.of(model, population, generator)

    def __call__(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[Values, Values]:
        """What ``read`` gives, as finite float32; the model is back in its own mode afterwards.

        Raises:
            ModelError: If the model does not open what is read, or what came out does not fit the examples.
        """
        modes = {module: module.training for module in model.modules()}
        try:
            found = self.read(model.eval(), pool, population, generator)
        finally:
            for module, mode in modes.items():
                module.training = mode
        of_pool, of_population = (np.asarray(part, dtype=np.float32) for part in found)
        sizes = (len(pool), 0 if population is None else len(population))
        for part, n in zip((of_pool, of_population), sizes, strict=True):
            if part.ndim != 2 or len(part) != n or part.shape[1] != of_pool.shape[1]:
                raise ModelError(f"reading {self.name!r} gave {part.shape} for {n} examples; it must be ({n}, K).")
            if not np.isfinite(part).all():
                raise ModelError(f"reading {self.name!r} gave NaN or infinity: the model has diverged.")
        return of_pool, of_population
