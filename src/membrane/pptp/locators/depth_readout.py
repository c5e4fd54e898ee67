"""Depth read-out: how much better members can be told from non-members by each region's output than by the one before.

An example's score at a region is how near its features lie to the mean of its class, each feature measured by its own
spread. Means come from the other half of members and non-members, equally many, so nothing in them knows who is one.

Source: nearest class mean as in the per-layer exposure literature (LM-DP-SGD, arXiv:2602.22611, attacks each layer's
representation); LayerMem, arXiv:2409.19069, for looking at increments. Feature norms, linear probes and kNN depth are
left out: the norm is one number of what is used here, the others need a member split of their own. What a region's
output shows depends on all the weights before it, so levels rise with depth by construction and increments are
reported; even they say where the signal can be read, not where it is stored. A diagnostic for released features and
embeddings, never a reason to choose a region.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError
from membrane.core.generators import spawn_seed
from membrane.core.progress import Progress, silent
from membrane.data.examples import Examples, joined
from membrane.metrics import auc, auc_replicates, resample
from membrane.models import at_work, logits_of
from membrane.pptp.locators.judge import N_RESAMPLES, Array, Scores, risk_map
from membrane.pptp.locators.locator import Kind, Locator, Subject
from membrane.pptp.risk_map import RiskMap
from membrane.regions import Partition


@dataclass(frozen=True)
class DepthReadout(Locator):
    """Increment of the AUC of reading membership off a region's output, from one region to the next."""

    name: ClassVar[str] = "depth_readout"
    source: ClassVar[str] = "nearest class mean by layer, cf. arXiv:2602.22611; increments as in arXiv:2409.19069"
    kind: ClassVar[Kind] = "diagnostic"
    notes: ClassVar[str] = "in AUC, sums to the last level minus 0.5; where it can be read, not where it is stored"

    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map."""
        start = time.perf_counter()
        probe = subject.probe
        numbers = np.random.default_rng(spawn_seed(generator))
        both = joined(probe.members, probe.search)
        labels = np.arange(len(both)) < len(probe.members)
        half = _halves(labels, numbers)
        features = region_outputs(probe.model, probe.partition, both)
        levels = np.stack([_nearness(one, both.y, half) for one in features])
        resamples = resample(1, len(labels), N_RESAMPLES, numbers, models=False)
        permuted = [numbers.permutation(labels) for _ in range(N_RESAMPLES)]
        scores = Scores(
            _increments(np.array([[auc(one, labels) for one in levels]]))[0],
            _increments(np.stack([auc_replicates(one[None], labels[None], resamples) for one in levels], axis=1)),
            _increments(np.array([[auc(one, other) for one in levels] for other in permuted])),
        )
        return risk_map(self.name, "AUC", probe, scores, start)


def _increments(levels: Array) -> Array:
    return np.diff(levels, axis=1, prepend=0.5)


def _halves(labels: np.ndarray[Any, np.dtype[np.bool_]], generator: np.random.Generator) -> Tensor:
    """(N,) bool, a random half of the members and a random half of the others."""
    half = np.zeros(len(labels), dtype=bool)
    for group in (np.flatnonzero(labels), np.flatnonzero(~labels)):
        half[generator.permutation(group)[: len(group) // 2]] = True
    return torch.from_numpy(half)


def _nearness(features: Tensor, y: Tensor, half: Tensor) -> Array:
    """(N,) minus the squared distance to the class mean of the other half, in standard deviations of each feature."""
    scores = torch.zeros(len(y), dtype=torch.float64)
    for chosen in (half, ~half):
        other, labels = features[~chosen].double(), y[~chosen]
        mean = other.mean(0)
        scale = other.std(0).clamp_min(1e-12)
        # Of a class that the other half lacks: the mean of all.
        means = {c: other[labels == c].mean(0) for c in set(labels.tolist())}
        centre = torch.stack([means.get(c, mean) for c in y[chosen].tolist()])
        scores[chosen] = -(((features[chosen].double() - centre) / scale) ** 2).mean(1)
    return scores.numpy()


def region_outputs(model: nn.Module, partition: Partition, examples: Examples) -> list[Tensor]:
    """Each region's output (N, D), images and sequences averaged over their positions.

    The output of a region is that of the last of its modules that holds weights, as modules run.

    Raises:
        ModelError: If such a module gives anything but one tensor.
    """
    with _recording(model, partition) as seen:
        with at_work(model):
            logits_of(model, examples)
        order = list(seen)
    owner = {key: i for i, region in enumerate(partition.regions) for key in region.keys}
    last: dict[int, str] = {}
    for name in order:  # in the order of their last call
        own = next((key for key in owner if key.rpartition(".")[0] == name), None)
        if own is not None:
            last[owner[own]] = name
    return [torch.cat(seen[last[i]]) for i in range(len(partition.regions))]


@contextmanager
def _recording(model: nn.Module, partition: Partition) -> Iterator[dict[str, list[Tensor]]]:
    """What every module that holds weights itself gives out, in running order."""
    holders = {key.rpartition(".")[0] for region in partition.regions for key in region.keys}
    seen: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if name in holders and name:

            def note(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:  # noqa: ANN401
                if not isinstance(output, Tensor):
                    raise ModelError(f"{name} gives {type(output).__name__}; reading features needs one tensor.")
                batch = output.detach().float().cpu()
                seen.setdefault(name, []).append(batch.flatten(2).mean(2) if batch.ndim == 4 else _pooled(batch))

            hooks.append(module.register_forward_hook(note))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _pooled(batch: Tensor) -> Tensor:
    return batch.mean(1) if batch.ndim == 3 else batch
