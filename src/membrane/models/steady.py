"""Whether a model can be audited at all: it must answer an input the same way twice and whatever its company.

Dropout left on, a sampled answer, or normalization by the batch make scores depend on chance or on other
inputs. An audit would measure that, and call the difference safety.
"""

from __future__ import annotations

from torch import Tensor, nn

from membrane.core.errors import ModelError, raise_all
from membrane.data.examples import Examples
from membrane.data.loader import as_inputs
from membrane.models.answers import looks_like_probabilities
from membrane.models.signals import device_of, evaluating, forward

_N = 16
_APART = 1e-2  # of the logits' spread; rounding in another batch shape stays far below


def check_steady(model: nn.Module, examples: Examples) -> None:
    """Refuse a model whose answers change by themselves, or are not logits.

    Args:
        model: In evaluation mode or not; it is evaluated as it will be in an audit.
        examples: A few of them are asked for.

    Raises:
        ModelError: With everything that is wrong.
    """
    x = as_inputs(examples.x[:_N]).to(device_of(model))
    with evaluating(model):
        first, again = (_logits(forward(model, x)) for _ in range(2))
        alone = _logits(forward(model, x[: len(x) // 2]))
    scale = float(first.std()) + 1e-6
    raise_all(_mistakes(first, again, alone, scale), ModelError)


def _mistakes(first: Tensor, again: Tensor, alone: Tensor, scale: float) -> list[str]:
    found = []
    if float((first - again).abs().max()) > _APART * scale:
        found.append(
            "the model answers the same inputs differently when asked again: dropout that is always on, or a "
            "sampled answer. Make it deterministic, or average its answers, before it is audited."
        )
    elif len(alone) and float((first[: len(alone)] - alone).abs().max()) > _APART * scale:
        found.append(
            "the model's answer to an input depends on the other inputs of the batch: normalization layers that "
            "use batch statistics. Put them into evaluation mode."
        )
    if len(first) > 1 and looks_like_probabilities(first):
        found.append(
            "the model returns probabilities, and attacks read logits. Return what goes into the softmax, or wrap "
            "it: membrane.Answers(model, 'probabilities')."
        )
    return found


def _logits(answers: object) -> Tensor:
    if not isinstance(answers, Tensor):
        raise ModelError(f"the model returned {type(answers).__name__}; it must return logits (inputs, classes).")
    return answers.double().cpu()
