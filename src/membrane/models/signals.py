"""One forward pass, then the few numbers per example that the attacks need.

Everything is computed from logits in float64: through the softmax in float32, the surest members, the
ones that matter, all round to the same value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from membrane.core.errors import ModelError
from membrane.core.values import SIGNAL_KINDS, Signals
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import as_inputs
from membrane.data.queries import AS_IT_IS, Queries, Way, ways

_LOGITS = 1 << 22  # that signals are read from at a time; each takes some 100 bytes while they are


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode without gradients; afterwards each module is back in its own mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.inference_mode():
            yield model
    finally:
        for module, mode in modes.items():
            module.training = mode


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def forward(model: nn.Module, x: Tensor) -> object:
    """Whatever the model returns for inputs (B, ...).

    Raises:
        ModelError: If it cannot take them.
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), x.dtype)
    try:
        return model(x.to(dtype))
    except (RuntimeError, TypeError, ValueError, IndexError) as problem:
        raise ModelError(f"the model cannot take inputs of shape {tuple(x.shape)}: {problem}") from problem


def logits_of(model: nn.Module, examples: Examples, batch_size: int = 125, way: Way = AS_IT_IS) -> Tensor:
    """Logits (N, C) float32 on the CPU, in evaluation mode.

    Args:
        model: Takes (B, ...) inputs, pixels in [0, 1] or features.
        examples: N of them.
        batch_size: Memory against speed; the logits do not depend on it.
        way: In which the examples are asked for.

    Raises:
        ModelError: If the output is not (B, C) or not finite.
    """
    device = device_of(model)
    # One place for all: small results that lie between the large ones of each batch would keep their memory in use.
    logits, start = torch.empty(len(examples), len(examples.classes)), 0
    with evaluating(model):
        for x in pieces(examples.x, batch_size):
            logits[start : start + len(x)] = _checked(forward(model, as_inputs(way(x.to(device)))), len(x), examples)
            start += len(x)
    return logits


def _checked(logits: object, n: int, examples: Examples) -> Tensor:
    wanted = (n, len(examples.classes))
    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"the model returned {got} for {n} inputs; it must return logits of shape {wanted} "
            f"(inputs, classes). Wrap it if it returns a tuple or has another number of classes."
        )
    if not torch.isfinite(logits).all():
        raise ModelError(
            "the model returned NaN or infinite logits; it has diverged or its inputs are not what it expects."
        )
    return logits.float().cpu()


def signals_from_logits(logits: Tensor, y: Tensor) -> Signals:
    """Signals of shape (N, 1) from logits (N, C) and labels (N,).

    Losses keep their order down to the smallest float32, 1e-45 nats: rescaled logits up to 103. The modified
    entropy of sure members is the square of that and holds out half as long.

    Raises:
        ModelError: If there are fewer than two classes.
    """
    if logits.shape[1] < 2:
        raise ModelError("a model with one class has nothing to be sure about; signals need two classes or more.")
    z = logits.double()
    y = y[:, None]
    z_y, rescaled, others = _against_rest(z, y)
    top = z.argmax(1, keepdim=True)
    lead = _against_rest(z, top)[1]
    log_p = _log_probabilities(z, top, lead)
    p = log_p.exp()
    log_not_p = torch.log1p(-p.scatter(1, top, 0.0)).scatter(1, top, logsigmoid(-lead))
    loss = -logsigmoid(rescaled)
    fields = {
        "loss": loss,
        "rescaled_logit": rescaled,
        "margin": z_y - others.amax(1, keepdim=True),
        "entropy": -(p * log_p).sum(1, keepdim=True),
        "modified_entropy": torch.sigmoid(-rescaled) * loss - (p * log_not_p).scatter(1, y, 0.0).sum(1, keepdim=True),
        "correct": (top == y).double(),
    }
    return Signals.of({name: value.float().numpy() for name, value in fields.items()})


def log_probabilities(logits: Tensor) -> Tensor:
    """(N, C) float64 logarithms of the softmax of logits (N, C), exact to rounding also where they are near 0."""
    z = logits.double()
    top = z.argmax(1, keepdim=True)
    return _log_probabilities(z, top, _against_rest(z, top)[1])


def _log_probabilities(z: Tensor, top: Tensor, lead: Tensor) -> Tensor:
    """The same where it is known how far the top logit (N, 1) is above the others."""
    # Only the likeliest class can have a probability near 1, where log p and log(1 - p) would cancel.
    return torch.log_softmax(z, 1).scatter(1, top, logsigmoid(lead))


def _against_rest(z: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The chosen logit (N, 1), how far it is above the logsumexp of the others (N, 1), and the others (N, C)."""
    others = z.scatter(1, chosen, -torch.inf)
    own = z.gather(1, chosen)
    return own, own - torch.logsumexp(others, 1, keepdim=True), others


def signals_of(model: nn.Module, examples: Examples, batch_size: int = 125, queries: Queries = "identity") -> Signals:
    """Signals (N, Q) of a model on examples.

    Args:
        model: Takes (B, ...) inputs, pixels in [0, 1] or features.
        examples: N of them.
        batch_size: Memory against speed.
        queries: Ways in which each is asked for.

    Raises:
        ModelError: If the model's output is not (B, C) logits or not finite.
    """
    # Logits of many examples in many classes take more memory than the examples; whole batches, so that none changes.
    n = max(_LOGITS // len(examples.classes) // batch_size, 1) * batch_size
    # Selecting examples checks them anew, which for features takes as long as a small network's answer to them.
    parts = [examples] if n >= len(examples) else [examples[i : i + n] for i in range(0, len(examples), n)]
    found = [_asked(model, part, batch_size, queries) for part in parts]
    return Signals.of({kind: np.concatenate([one[kind] for one in found]) for kind in SIGNAL_KINDS})


def _asked(model: nn.Module, examples: Examples, batch_size: int, queries: Queries) -> Signals:
    by_way = [signals_from_logits(logits_of(model, examples, batch_size, way), examples.y) for way in ways(queries)]
    return Signals.of({kind: np.concatenate([one[kind] for one in by_way], axis=1) for kind in SIGNAL_KINDS})
