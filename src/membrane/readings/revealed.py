"""What a model says after an attacker who holds its weights has trained it on: memory that an edit only hid comes back.

Source: Siddiqui et al. 2025, "From Dormant to Deleted", arXiv:2505.22310, where forgotten images come back after
fine-tuning on retained ones alone; the check that every edit made after training has to stand. Where we differ: the
attacker's examples are strangers, since whoever has retained members needs no inference; and the network may also be
drawn anew from some region on and refitted over what lies before, to see what that still tells.

Left out: putting a region of a reference model in the place of the target's. Networks that were trained apart do not
fit each other region by region; the refit over the frozen rest is the region that fits.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from membrane.core.errors import ModelError, SettingError
from membrane.core.settings import check_ranges
from membrane.core.values import SIGNAL_KINDS, Floats
from membrane.data.examples import Examples
from membrane.data.loader import Loader, as_inputs
from membrane.models import initialize, signals_of
from membrane.models.signals import device_of
from membrane.readings.inside import inside
from membrane.readings.reading import Reading, Reveals
from membrane.regions import partition

_COPIES = 2  # one for each half of the population


@dataclass(frozen=True)
class Revealed(Reading):
    """The six signals of two copies of a network, each trained on by the labels of one half of the population.

    K = 12: each signal under both copies. A stranger is read, twice over, by the copy that was not trained on it, and
    stays a stranger. Copies are trained as they answer, by Adam: no dropout, and running statistics as they
    are but for those of regions that are drawn anew.

    Args:
        refit: Positions of the regions, in running order from 0 or from the end with -1 the last, that are drawn anew
            and trained while the others stay. None: all are trained on from what they are.
        epochs: Over the half of the population.
        lr: Of Adam.
        batch_size: Strangers in a batch.

    Raises:
        SettingError: Listing every setting that does not fit.
    """

    name: ClassVar[str] = "revealed"
    threat_model: ClassVar[Reveals] = "weights"
    min_population: ClassVar[int] = 4

    refit: tuple[int, ...] = ()
    epochs: int = 5
    lr: float = 0.001
    batch_size: int = 50

    def __post_init__(self) -> None:
        check_ranges(
            self,
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0, and finite"),
            batch_size=(self.batch_size >= 1, "1 or more"),
        )

    @property
    def queries(self) -> int:
        return _COPIES

    def columns(self, model: nn.Module, pool: Examples) -> tuple[str, ...]:
        return tuple(f"{kind} {place}" for kind in SIGNAL_KINDS for place in ("first", "second"))

    def read(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """(N, 12) and (Z, 12).

        Raises:
            ModelError: If there are fewer than four strangers, or training on diverges.
            SettingError: If the network has no such region.
        """
        if population is None or len(population) < self.min_population:
            raise ModelError(
                f"reading {self.name!r} trains on strangers; pass a population of {self.min_population} or more."
            )
        halves = torch.randperm(len(population), generator=generator).chunk(_COPIES)
        of_pool, of_strangers = [], np.empty((len(population), len(SIGNAL_KINDS), _COPIES))
        for half, others in zip(halves, reversed(halves), strict=True):
            revealed = self.trained_on(inside(model), population[half], generator)
            of_pool.append(_signals(revealed, pool))
            of_strangers[others.numpy()] = _signals(revealed, population[others])[..., None]
        found = np.stack(of_pool, axis=-1)
        return found.reshape(len(pool), -1), of_strangers.reshape(len(population), -1)

    def trained_on(self, network: nn.Module, examples: Examples, generator: torch.Generator) -> nn.Module:
        """A copy of the network, trained on by examples that are not in question."""
        revealed = copy.deepcopy(network).eval()
        keys = self._drawn_anew(revealed, examples, generator) if self.refit else None
        for key, parameter in revealed.named_parameters():
            parameter.requires_grad_(parameter.is_floating_point() and (keys is None or key in keys))
        trained = [parameter for parameter in revealed.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, self.lr)
        loader = Loader(examples, self.batch_size, device=device_of(revealed))
        with torch.enable_grad():
            for _ in range(self.epochs):
                for batch in loader.epoch(generator):
                    optimizer.zero_grad()
                    F.cross_entropy(revealed(batch.x).float(), batch.y).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        return revealed.eval()

    def _drawn_anew(self, network: nn.Module, examples: Examples, generator: torch.Generator) -> frozenset[str]:
        """Names in the regions to refit, which are as in a fresh network afterwards; inputs stay normalized."""
        cut = partition(network, as_inputs(examples.x[:2]))
        n = len(cut.regions)
        if wrong := [place for place in self.refit if not -n <= place < n]:
            raise SettingError(f"refit names region {wrong[0]}; this network has {n}, from 0 to {n - 1}, -1 the last.")
        keys = cut.keys(cut.names[place] for place in self.refit)
        normalized = [(name, one) for name, one in network.named_modules() if isinstance(one, _NormBase)]
        statistics = {f"{name}.{key}" for name, one in normalized for key, _ in one.named_buffers(recurse=False)} & keys
        fresh = copy.deepcopy(network).cpu()  # where the generator draws
        initialize(fresh, generator)
        drawn = statistics | {name for name, _ in network.named_parameters() if name in keys}
        network.load_state_dict(network.state_dict() | {key: fresh.state_dict()[key] for key in drawn})
        for name, module in normalized:
            module.training = f"{name}.running_mean" in statistics  # only a fresh layer has statistics to find
        return keys


def _signals(model: nn.Module, examples: Examples) -> npt.NDArray[np.float64]:
    """(N, 6)."""
    signals = signals_of(model, examples)
    return np.concatenate([signals[kind] for kind in SIGNAL_KINDS], axis=1).astype(np.float64)


def by_kind(read: Floats) -> dict[str, Floats]:
    """The signals (..., N, 2) by name that ``Revealed`` gave as (..., N, 12)."""
    apart = read.reshape(*read.shape[:-1], len(SIGNAL_KINDS), _COPIES)
    return {kind: apart[..., place, :] for place, kind in enumerate(SIGNAL_KINDS)}
