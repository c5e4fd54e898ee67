"""The trail: a model's training history, cheap enough to keep, from which any early stretch can be averaged.

After each epoch the running sum of all weights is updated; at a few epochs the sum itself is kept. The
mean over any window between kept epochs is then one subtraction. With the optimizer at hand, an epoch counts
as the mean of the weights after each of its updates: the noise of single updates, in which members leave
their marks too, averages out.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from membrane.core.errors import ReleaseError, SettingError, StoreError, TrainingError
from membrane.core.store import read_json, read_tensors, write_json, write_tensors
from membrane.regions.partition import plain_state, unwrap


class Trail:
    """Running sums of a model's weights along training.

    Args:
        model: The model in training, wrapped or not (DDP, torch.compile). With EMA, pass the EMA model:
            what is released is what should be summed; call ``accumulate()`` after each of its own updates.
        keep: Epochs kept at most, spread evenly in the logarithm. Each costs as much memory as the model in
            float32, twice as much if every update is averaged. None keeps every epoch.
        optimizer: If given, every update that it makes is averaged (a hook calls ``accumulate``); otherwise an
            epoch counts as its last weights.

    Raises:
        SettingError: If ``keep`` is below 2.
    """

    def __init__(
        self, model: nn.Module, keep: int | None = 12, *, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        if keep is not None and keep < 2:
            raise SettingError(f"a trail of {keep} kept epochs has no window; keep 2 or more, or None for all.")
        self.keep = keep
        self.n_epochs = 0
        self.released: str | None = None
        self._model: nn.Module | None = model
        self._sum: dict[str, Tensor] = {}
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._ends: dict[int, dict[str, Tensor]] = {}  # of epochs that count as the mean of their updates
        self._updates: dict[str, Tensor] = {}  # sum over the updates of the epoch under way, on the model's device
        self._n_updates = 0
        self._constant: frozenset[str] = frozenset()
        self._last: dict[str, float] = {}
        if optimizer is not None:
            optimizer.register_step_post_hook(lambda *_: self.accumulate())

    def accumulate(self, model: nn.Module | None = None) -> None:
        """Count the weights as they are now into the epoch under way; call after every update, or never.

        Args:
            model: Where to read, if not the model that the trail was made with.

        Raises:
            SettingError: If there is no model to read.
        """
        now = {k: v for k, v in plain_state(self._source(model)).items() if v.is_floating_point()}
        with torch.no_grad():
            if self._n_updates and self._updates.keys() == now.keys():
                torch._foreach_add_(list(self._updates.values()), [v.float() for v in now.values()])
            else:
                self._updates = {key: value.to(torch.float32, copy=True) for key, value in now.items()}
                self._n_updates = 0
        self._n_updates += 1

    def snapshot(self, model: nn.Module | None = None) -> None:
        """Close an epoch: add the mean of its updates, or the weights as they are now; call after every epoch.

        Args:
            model: Where to read, if not the model that the trail was made with.

        Raises:
            SettingError: If the weights are not those of one network.
            TrainingError: If they are not finite.
        """
        source = self._source(model)
        now = {k: v.to("cpu", torch.float32) for k, v in plain_state(source).items() if v.is_floating_point()}
        if not self._sum:  # a mask of minus infinity is a constant, not a divergence
            trainable = {name for name, _ in unwrap(source).named_parameters()}
            self._constant = frozenset(k for k, v in now.items() if k not in trainable and not torch.isfinite(v).all())
        now = {key: value for key, value in now.items() if key not in self._constant}
        if self._sum and {k: v.shape for k, v in now.items()} != {k: v.shape for k, v in self._sum.items()}:
            raise SettingError("the model's parameters changed since the first snapshot; a trail follows one network.")
        mean = {key: self._updates[key].cpu() / self._n_updates for key in now} if self._n_updates else now
        self._n_updates = 0
        bad = [key for key in now if not (torch.isfinite(now[key]).all() and torch.isfinite(mean[key]).all())]
        if bad:
            raise TrainingError(
                f"after epoch {self.n_epochs} {bad[0]!r} holds NaN or infinity; training has diverged. Lower its rate."
            )
        # A new tensor each time: kept sums must not change under later additions.
        self._sum = {key: self._sum[key] + value if self._sum else value.clone() for key, value in mean.items()}
        self._kept[self.n_epochs] = self._sum
        if mean is not now:
            self._ends[self.n_epochs] = {key: value.clone() for key, value in now.items()}
        self._last = _lengths(now)
        self.n_epochs += 1
        if self.keep is not None and len(self._kept) > self.keep:
            missed = _least_missed(self.epochs)
            del self._kept[missed]
            self._ends.pop(missed, None)

    def _source(self, model: nn.Module | None) -> nn.Module:
        source = model if model is not None else self._model
        if source is None:
            raise SettingError("a trail read from a file has no model; pass one to snapshot().")
        return source

    @property
    def epochs(self) -> tuple[int, ...]:
        """Kept epochs, ascending, counted from 0; a window may end at any of them."""
        return tuple(sorted(self._kept))

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """All windows (first, last), both included, that can be averaged."""
        return windows_between(self.epochs)

    def window(self, first: int, last: int) -> dict[str, Tensor]:
        """Mean of the weights over epochs ``first`` to ``last``, both included, float32.

        Raises:
            SettingError: If the window does not lie between kept epochs, naming the nearest that does.
        """
        if not (first <= last and last in self._kept and (first == 0 or first - 1 in self._kept)):
            if not self._kept:
                raise SettingError("the trail is empty; call snapshot() after every epoch.")
            near = min(self.windows, key=lambda w: abs(w[0] - first) + abs(w[1] - last))
            raise SettingError(
                f"no kept sums around epochs {first} to {last}; the nearest window is {near[0]} to {near[1]}."
            )
        n = last - first + 1
        if first == 0:
            return {key: value / n for key, value in self._kept[last].items()}
        before = self._kept[first - 1]
        return {key: (value - before[key]) / n for key, value in self._kept[last].items()}

    def at(self, epoch: int) -> dict[str, Tensor]:
        """Weights as they were at the end of an epoch, float32.

        Raises:
            SettingError: If they were not kept, naming the epochs that were.
        """
        if epoch in self._ends:
            return self._ends[epoch]
        if self._ends or (epoch, epoch) not in self.windows:
            ends = sorted(self._ends) or [last for first, last in self.windows if first == last]
            raise SettingError(f"the weights after epoch {epoch} were not kept; there are those after {ends}.")
        return self.window(epoch, epoch)

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this trail is not the history of.

        Raises:
            SettingError: If names or shapes differ, or the last snapshot saw other weights.
        """
        own = {k: v for k, v in plain_state(model).items() if v.is_floating_point() and k not in self._constant}
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in self._sum.items()}:
            wrong = sorted(set(own) ^ set(self._sum)) or [k for k in own if own[k].shape != self._sum[k].shape]
            raise SettingError(
                f"this trail belongs to another network: {len(wrong)} names or shapes differ, first {wrong[:3]}."
            )
        now = _lengths(own)
        moved = [k for k, length in self._last.items() if not math.isclose(length, now[k], rel_tol=1e-3, abs_tol=1e-6)]
        if moved:
            raise SettingError(
                f"the last snapshot saw other weights than the model has now ({len(moved)} of {len(now)} tensors, "
                f"first {moved[0]!r}). Mixing independently trained models is no protection: pass the model that the "
                "trail followed (with EMA, the EMA model), and call snapshot() after the last epoch."
            )

    def tensors(self) -> dict[str, Tensor]:
        """Kept sums by ``sum/<epoch>/<name>`` and last weights by ``end/<epoch>/<name>``, for storing."""
        parts = (("sum", self._kept), ("end", self._ends))
        return {
            f"{part}/{epoch}/{key}": value
            for part, epochs in parts
            for epoch in sorted(epochs)
            for key, value in epochs[epoch].items()
        }

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor], n_epochs: int) -> Trail:
        """Trail from what ``tensors`` gave.

        Raises:
            ValueError: If a name is not one that ``tensors`` gives.
        """
        trail = Trail(nn.Identity(), keep=None)
        trail._model = None
        trail.n_epochs = n_epochs
        parts = {"sum": trail._kept, "end": trail._ends}
        for name, value in tensors.items():
            part, epoch, key = [*name.split("/", 2), "", ""][:3]
            if part not in parts:
                raise ValueError(f"{name!r} is not part of a trail")
            parts[part].setdefault(int(epoch), {})[key] = value
        trail._sum = trail._kept[max(trail._kept)] if trail._kept else {}
        return trail

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the trail to a folder. It is as sensitive as the undefended model: delete it after the release.

        Raises:
            StoreError: If it cannot be written.
        """
        checksum = write_tensors(Path(folder) / "trail.safetensors", self.tensors())
        facts = {"n_epochs": self.n_epochs, "released": self.released, "keep": self.keep, "sha256": checksum}
        write_json(Path(folder) / "trail.json", facts)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Trail:
        """Trail from a folder that ``save`` wrote.

        Raises:
            StoreError: If it is missing, damaged or not a trail.
        """
        facts = read_json(Path(folder) / "trail.json")
        path = Path(folder) / "trail.safetensors"
        try:
            tensors = read_tensors(path, facts["sha256"])
            trail = Trail.from_tensors(tensors, int(facts["n_epochs"]))
            trail.released, trail.keep = facts["released"], facts["keep"]
            if trail.n_epochs != max(trail.epochs, default=-1) + 1 or not isinstance(trail.released, str | None):
                raise ValueError(f"{path.name} ends at epoch {trail.epochs[-1:]}, trail.json says {facts}")
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise StoreError(f"{folder} does not hold a trail ({problem!r}); it is damaged or not ours.") from problem
        return trail

    def record_release(self, fingerprint: str, *, force: bool = False) -> None:
        """Note that an edit of this trail was released.

        Two different releases of one training give back the undefended weights by linear algebra.

        Raises:
            ReleaseError: If another edit was released before and ``force`` is not set.
        """
        if self.released is not None and self.released != fingerprint and not force:
            raise ReleaseError(
                "this trail has already produced a different release. Whoever holds both can solve for the "
                "undefended weights. Release the first one again, train anew, or pass force=True if the first "
                "never left your hands."
            )
        self.released = fingerprint


def _lengths(state: dict[str, Tensor]) -> dict[str, float]:
    """Euclidean length of every tensor: enough to tell one training's weights from another's."""
    return {key: float(value.detach().double().norm()) for key, value in state.items()}


def kept_epochs(n_epochs: int, keep: int | None) -> tuple[int, ...]:
    """Epochs that a trail of ``n_epochs`` snapshots keeps, known before training.

    >>> kept_epochs(40, 8)
    (0, 1, 2, 3, 6, 9, 18, 39)
    """
    kept: tuple[int, ...] = ()
    for epoch in range(n_epochs):
        kept = (*kept, epoch)
        if keep is not None and len(kept) > keep:
            missed = _least_missed(kept)
            kept = tuple(one for one in kept if one != missed)
    return kept


def windows_between(kept: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """All windows (first, last), both included, whose mean two kept sums give."""
    starts = (0, *(epoch + 1 for epoch in kept))
    return tuple((first, last) for first in starts for last in kept if first <= last)


def _least_missed(epochs: tuple[int, ...]) -> int:
    """The kept epoch, neither first nor last, whose neighbours are nearest on a logarithmic scale."""
    gaps = {
        epoch: math.log((after + 2) / (before + 1))
        for before, epoch, after in zip(epochs, epochs[1:], epochs[2:], strict=False)
    }
    return min(gaps, key=lambda epoch: (gaps[epoch], -epoch))
