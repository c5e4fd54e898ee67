"""Models made elsewhere: whatever answers inputs, as a module that answers with logits.

A service, a function, a scikit-learn classifier or an ONNX file gives logits, probabilities or nothing but
labels. Attacks read logits; what a model reveals decides which of them can run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from membrane.core.errors import ModelError, SettingError

Output = Literal["logits", "probabilities", "labels"]
_EXACT = 1e-3  # how far from 1 together numbers may be that are taken for probabilities
_ROUNDED = 0.5  # the same for answers that are said to be, and may be rounded or cut to the likeliest classes
_SURE = 30.0  # logit of the answered class where there are labels only; the others are 0


class Answers(nn.Module):
    """Any function of a batch of inputs, as a module that returns logits (B, C).

    Probabilities become their logarithms: exact for attacks as far as the function did not round them, which
    float32 does to the surest answers; they need not add up to 1 exactly. Labels become logits that hold
    nothing but the label.

    Args:
        function: Inputs (B, ...), pixels in [0, 1] or features, to an array or tensor: (B, C) logits or
            probabilities, or (B,) class indices.
        output: What it returns.
        n_classes: C; needed for labels only.
        numpy: Hand it NumPy arrays instead of tensors.

    Raises:
        SettingError: If ``output`` is unknown, or labels come without ``n_classes``.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        output: Output = "logits",
        *,
        n_classes: int | None = None,
        numpy: bool = False,
    ) -> None:
        super().__init__()
        if output not in get_args(Output):
            raise SettingError(f"output is {output!r}; a model answers with {', '.join(get_args(Output))}.")
        if output == "labels" and (n_classes is None or n_classes < 2):
            raise SettingError(f"n_classes is {n_classes}; labels alone do not tell how many there are (2 or more).")
        self.function = function
        self.output = output
        self.n_classes = n_classes
        self.numpy = numpy

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C).

        Raises:
            ModelError: If the answers are not what they are said to be.
        """
        answers = self.function(x.cpu().numpy() if self.numpy else x)
        try:
            answers = answers.detach() if isinstance(answers, Tensor) else torch.from_numpy(np.array(answers))
        except (TypeError, ValueError) as problem:
            raise ModelError(f"the model returned no array of numbers but {type(answers).__name__}.") from problem
        return self._from_labels(answers, len(x)) if self.output == "labels" else self._from_scores(answers, len(x))

    def _from_labels(self, labels: Tensor, n: int) -> Tensor:
        assert self.n_classes is not None
        if tuple(labels.shape) != (n,) or (labels.is_floating_point() and not torch.equal(labels, labels.round())):
            raise ModelError(
                f"the model returned {labels.dtype} of shape {tuple(labels.shape)} for {n} inputs; labels are class "
                f"indices of shape ({n},)."
            )
        if n and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
            raise ModelError(
                f"the model returned labels from {int(labels.min())} to {int(labels.max())}; with {self.n_classes} "
                "classes they lie between 0 and one less."
            )
        return _SURE * nn.functional.one_hot(labels.long(), self.n_classes).float()

    def _from_scores(self, scores: Tensor, n: int) -> Tensor:
        if scores.ndim != 2 or len(scores) != n:
            raise ModelError(f"the model returned shape {tuple(scores.shape)} for {n} inputs; give (inputs, classes).")
        if self.output == "logits":
            return scores
        p = scores.double()
        if not looks_like_probabilities(p, _ROUNDED):
            raise ModelError(
                f"the model's answers are no probabilities: they run from {float(p.min()):.4g} to {float(p.max()):.4g} "
                f"and add up to {float(p.sum(1).min()):.4g} at least. If they are logits, say output='logits'."
            )
        return p.clamp(min=np.finfo(np.float32).smallest_subnormal.item()).log()


def looks_like_probabilities(answers: Tensor, apart: float = _EXACT) -> bool:
    """Whether every row of answers (B, C) is a distribution: none negative, 1 together but for less than ``apart``."""
    return bool(answers.numel()) and bool((answers >= 0).all()) and bool(((answers.sum(1) - 1).abs() < apart).all())


def from_onnx(path: str | os.PathLike[str], output: Output = "logits", *, n_classes: int | None = None) -> Answers:
    """The classifier in an ONNX file, run on the CPU by ONNX Runtime (extra ``onnx``).

    Args:
        path: Of the file. It must have one input (B, ...), float32, and answer with its first output.
        output: What that output is.
        n_classes: Needed for labels only.

    Raises:
        ModelError: If the file cannot be read or is no such network.
        SettingError: If ONNX Runtime is not installed, or a setting does not fit.
    """
    try:
        import onnxruntime
    except ImportError as problem:
        raise SettingError("an ONNX file needs ONNX Runtime: pip install 'membrane[onnx]'.") from problem
    if not Path(path).is_file():
        raise ModelError(f"there is no file {path}.")
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    except Exception as problem:  # ONNX Runtime has a dozen classes of its own, with no base but Exception
        raise ModelError(f"{path} is no ONNX network that can run here: {problem}") from problem
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise ModelError(f"{path} takes {found or 'nothing'}; a classifier takes one float32 input (B, ...).")

    def run(x: np.ndarray[Any, np.dtype[np.float32]]) -> Any:  # noqa: ANN401 -- whatever the network returns
        try:
            return session.run(None, {inputs[0].name: x})[0]
        except Exception as problem:
            raise ModelError(f"{path} cannot take inputs of shape {x.shape}: {problem}") from problem

    return Answers(run, output, n_classes=n_classes, numpy=True)
