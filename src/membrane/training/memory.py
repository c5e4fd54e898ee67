"""What training and measuring a model takes in memory, and what to change where it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from membrane.core.device import working_device
from membrane.core.errors import ModelError, OutOfMemoryError
from membrane.core.generators import torch_generator
from membrane.core.memory import free_bytes, let_go, ran_out
from membrane.core.text import megabytes
from membrane.core.values import Signals
from membrane.data.examples import Examples
from membrane.data.loader import as_inputs
from membrane.data.queries import Queries
from membrane.models import check_steady, signals_of
from membrane.regions.trail import kept_epochs
from membrane.training.recipe import Recipe

_TRIED = 4  # examples that one forward pass is watched on
_BACKWARD = 2  # the backward pass holds about as much again as the forward pass kept for it
_ROOM = 0.8  # of the free memory is promised; the rest is for what is not counted


@dataclass(frozen=True)
class Need:
    """Bytes that training one model takes, about.

    Args:
        network: Weights, gradients and momentum.
        trail: Sums and weights that the trail keeps.
        example: For each example of a batch.
    """

    network: int
    trail: int
    example: int

    def bytes_of(self, batch_size: int) -> int:
        """For batches of this size."""
        return self.network + self.trail + batch_size * self.example

    def largest_batch(self, n_bytes: float) -> int:
        """Largest power of two that fits, 0 if none does."""
        n = int(max(n_bytes - self.network - self.trail, 0)) // max(self.example, 1)
        return 1 << (n.bit_length() - 1) if n else 0


def need_of(recipe: Recipe, members: Examples) -> Need:
    """What training one model takes, from one forward pass on a few examples."""
    recipe = recipe.defense.trained_as().adapt(recipe)
    model = recipe.model.build(members, torch_generator(0)).train()
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = as_inputs(members.x[:_TRIED])
    with torch.random.fork_rng(devices=[]), saved_tensors_hooks(note, lambda tensor: tensor):  # dropout draws
        model(x)
    state = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    copies = 2 * len(kept_epochs(recipe.n_epochs, recipe.keep)) + 2  # sums and ends; the running sum and the updates
    example = (_BACKWARD * sum(kept.values()) + x.nbytes) // max(len(x), 1)
    return Need(3 * state, copies * state, example)


@contextmanager
def training_memory(recipe: Recipe, members: Examples, device: torch.device) -> Iterator[None]:
    """Say which setting would fit where memory runs out inside.

    Raises:
        OutOfMemoryError: In place of what torch raises.
    """
    with _in_words(lambda said: f"memory ran out in training ({said}). {_training_advice(recipe, members, device)}"):
        yield


@contextmanager
def _in_words(tell: Callable[[str], str]) -> Iterator[None]:
    """Raise an ``OutOfMemoryError`` with what ``tell`` makes of torch's words, where memory runs out inside."""
    try:
        yield
        return
    except Exception as problem:
        if not ran_out(problem) or isinstance(problem, OutOfMemoryError):
            raise
        let_go(problem)
        said = _first_line(problem)
    # Outside of the handler, so that the failed call's tensors are free while another need is measured.
    raise OutOfMemoryError(tell(said))


def _training_advice(recipe: Recipe, members: Examples, device: torch.device) -> str:
    batch, free = min(recipe.batch_size, len(members)), free_bytes(device)
    less = f"Set batch_size = {max(batch // 2, 2)} (it is {recipe.batch_size})"
    try:
        need = need_of(recipe, members)
    except (RuntimeError, MemoryError):
        return f"{less}, or take a smaller network."
    if free is None:
        return f"{less}: about {megabytes(need.bytes_of(batch))} are needed now."
    fits = min(need.largest_batch(_ROOM * free), batch // 2)
    where = "" if device.type == "cpu" else f" on {device}"
    asked = f"About {megabytes(need.bytes_of(batch))} are needed, {megabytes(free)} are free{where}. "
    if fits >= 2:
        return f"{asked}Set batch_size = {fits} (it is {recipe.batch_size}), with lr to match."
    trail = "" if recipe.keep == 2 else f"; keep = 2 would make the trail smaller, which takes {megabytes(need.trail)}"
    return f"{asked}No batch_size fits: take a smaller network{trail}, or end other processes."


def measured(model: nn.Module, examples: Examples, queries: Queries = "identity", batch_size: int = 125) -> Signals:
    """Signals (N, Q) of a model, in smaller batches where memory runs out.

    Numbers may differ in their last bits between batch sizes, as they do between machines.

    Raises:
        ModelError: If the model's output is not (B, C) logits or not finite.
        OutOfMemoryError: If even one example does not fit.
    """
    while True:
        try:
            return signals_of(model, examples, batch_size, queries)
        except (RuntimeError, MemoryError, ModelError) as problem:
            if not ran_out(problem):
                raise
            let_go(problem)
            said = _first_line(problem)
        if batch_size == 1:
            raise OutOfMemoryError(
                f"memory ran out while the model answered a single input ({said}). Take a smaller network, or end "
                "other processes."
            )
        batch_size = max(batch_size // 2, 1)


@contextmanager
def function_memory(name: str) -> Iterator[None]:
    """Say whose memory ran out where a user's function does it.

    Raises:
        OutOfMemoryError: In place of what torch raises.
    """
    try:
        yield
    except Exception as problem:
        if not ran_out(problem) or isinstance(problem, OutOfMemoryError):
            raise
        raise OutOfMemoryError(
            f"memory ran out in {name} ({_first_line(problem)}). Make its batches or its network smaller; models that "
            "were finished are kept."
        ) from problem


@contextmanager
def asking_memory(what: str) -> Iterator[None]:
    """Say where memory ran out while a trained model is released or read.

    Args:
        what: Is done with it.

    Raises:
        OutOfMemoryError: In place of what torch raises.
    """
    with _in_words(lambda said: _asking_advice(what, said)):
        yield


def _asking_advice(what: str, said: str) -> str:
    device = working_device()
    free = free_bytes(device)
    there = "" if free is None else f", {megabytes(free)} are free"
    elsewhere = "" if device.type == "cpu" else ' Or set the engine\'s device = "cpu".'
    return (
        f"memory ran out on {device} in {what} ({said}{there}). Take a smaller network, fewer workers, or end other "
        f"processes; models that were finished are kept.{elsewhere}"
    )


def steady(model: nn.Module, examples: Examples) -> None:
    """``check_steady``, where memory may run out.

    Raises:
        ModelError: If the model's answers change by themselves or are not logits.
        OutOfMemoryError: If a few examples do not fit.
    """
    with function_memory("the model"):
        check_steady(model, examples)


def _first_line(problem: BaseException) -> str:
    """What was said first, without the words in which torch names its source file."""
    while isinstance(problem.__cause__, RuntimeError | MemoryError):
        problem = problem.__cause__
    line = (str(problem).splitlines() or [""])[0]
    return line.rpartition("err == 0. ")[2].rstrip(".") or type(problem).__name__
