"""HAMP: train towards unsure answers, and answer with the confidence of random inputs.

Source: Chen and Pattabiraman 2024, "Overconfidence is a Dangerous Thing: Mitigating Membership Inference Attacks by
Enforcing Less Confident Prediction", NDSS 2024, arXiv:2307.01610, and the authors' code.

Training: soft labels, p_y lowered from 1 in steps of 0.01 (the rest spread evenly) until their entropy is ``gamma``
log C; the loss is KL(soft label || answer) - ``alpha`` H(answer). It is the paper's, for each example; the code
averages KL over examples and classes, so its alpha is ours times C, and its learning rate ours over C. The code also
makes a new optimizer each epoch; ours keeps its momentum.

Output: for each query, the network answers a random input, too; those logits, sorted, take the place of the query's
own, in the order of these. Label and order of classes stay. Random inputs are as in the code: pixels drawn evenly from
0/255 to 254/255, features of 0 and 1 as fair bits; other features have no counterpart there and are refused. The code
draws anew for each query; ours draws by the query and a secret key, so that asking twice tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import raise_all
from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples
from membrane.data.inputs import pieces
from membrane.data.loader import Batch
from membrane.defenses.confidence_penalty import entropy
from membrane.defenses.ranges import check
from membrane.defenses.rewriting import KeyedRewriting
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.recipe import Recipe

_STEP = 0.01  # that the label's probability is lowered by


def soft_label(gamma: float, n_classes: int) -> float:
    """Probability of the label in the surest soft label whose entropy is at least ``gamma`` log C.

    It stays above even, so that the label can be told: 0.01 above 1 / C is as low as it gets.

    >>> soft_label(0.0, 10), soft_label(0.5, 10), soft_label(0.95, 10), soft_label(0.999, 100)
    (1.0, 0.73, 0.26, 0.02)
    """
    for step in range(100):
        p = round(1 - step * _STEP, 2)
        rest = (1 - p) / (n_classes - 1)
        if -p * log(p) - (1 - p) * (log(rest) if rest else 0) >= gamma * log(n_classes) or p <= 1 / n_classes + _STEP:
            return p
    raise AssertionError


@dataclass(frozen=True)
class HAMPTraining(Defense):
    """The training of HAMP alone: soft labels and a reward for entropy. Answers are released as they are.

    Args:
        gamma: Entropy of the soft labels as a share of log C, from 0 to below 1.
        alpha: Weight of the answers' entropy, 0 or more; with ``gamma`` 0 as well, the undefended baseline.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "hamp_training"
    source: ClassVar[str] = "Chen and Pattabiraman 2024, arXiv:2307.01610"
    strength: ClassVar[str | None] = "gamma"
    does_not_stop: ClassVar[str] = (
        "worst cases: TPR@0.1 % FPR of 29 % on mislabelled canaries, CIFAR-10, output part included (Aerni et al. "
        "2024, arXiv:2404.17399)"
    )
    notes: ClassVar[str] = "the paper's loss for each example; the authors' code has alpha times C, rate over C"

    gamma: float = 0.95
    alpha: float = 0.001

    def __post_init__(self) -> None:
        check(
            self,
            gamma=(0 <= self.gamma < 1, "a share from 0 to below 1"),
            alpha=(0 <= self.alpha < inf, "0 or more"),
        )

    def targets(self, batch: Batch, n_classes: int, epoch: int) -> Tensor:
        """(B, C) soft labels, or (B,) labels where they are not softened."""
        p = soft_label(self.gamma, n_classes)
        if p == 1:
            return batch.y
        rest = torch.full((len(batch.y), n_classes), (1 - p) / (n_classes - 1), device=batch.y.device)
        return rest.scatter(1, batch.y[:, None], p)

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        target = self.targets(batch, logits.shape[1], epoch)
        loss = F.cross_entropy(logits, target, reduction="none")
        if target.ndim == 2:
            loss = loss + (target * target.log()).sum(1)  # from cross-entropy to divergence; no gradient
        return loss - self.alpha * entropy(logits) if self.alpha > 0 else loss


@dataclass(frozen=True)
class HAMPOutput(Defense):
    """The output part of HAMP alone: answers get the confidence of random inputs, in their own order."""

    name: ClassVar[str] = "hamp_output"
    source: ClassVar[str] = "Chen and Pattabiraman 2024, arXiv:2307.01610"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = "attacks on labels or on the order of classes, which stay; whoever has the weights"
    notes: ClassVar[str] = "the random input comes from the query and a secret key: same query, same answer"

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Whether random inputs can be drawn that are like these."""
        return no_random_inputs(members)

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The trained model behind its rewriting."""
        return Finished(behind_random_answers(trained, generator), {"output": "random answers, reordered"})


@dataclass(frozen=True)
class HAMP(HAMPTraining):
    """HAMP whole: soft labels and a reward for entropy in training, then the confidence of random inputs.

    Args:
        gamma: Entropy of the soft labels as a share of log C, from 0 to below 1.
        alpha: Weight of the answers' entropy, 0 or more.

    Raises:
        SettingError: If a setting lies outside its range.
    """

    name: ClassVar[str] = "hamp"
    acts_on: ClassVar[Stage] = "both"
    rewrites_answers: ClassVar[bool] = True

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Whether random inputs can be drawn that are like these."""
        return no_random_inputs(members)

    def trained_as(self) -> Defense:
        """The training part, which it shares with what has only that."""
        return HAMPTraining(self.gamma, self.alpha)

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The trained model behind its rewriting."""
        return HAMPOutput().finish(trained, generator)


class RandomAnswers(KeyedRewriting):
    """Answers with the sorted logits of a random input, in the order of the query's own.

    Args:
        model: Inputs (B, ...) to logits (B, C).
        key: Secret that, with the query, decides the random input.
    """

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        is_image = x.ndim == 4
        drawn = [
            torch.randint(255 if is_image else 2, x.shape[1:], generator=generator) for generator in self.generators(x)
        ]
        inputs = torch.stack(drawn).to(x) / (255 if is_image else 1)
        values: Tensor = self.model(inputs).float()
        order = logits.argsort(dim=1, stable=True)
        return torch.empty_like(logits).scatter(1, order, values.sort(1).values)


def no_random_inputs(members: Examples) -> list[str]:
    """A sentence that says why no random inputs can be drawn that are like the members; nothing if they can."""
    if members.x.ndim == 4 or all(bool(((piece == 0) | (piece == 1)).all()) for piece in pieces(members.x)):
        return []
    return [
        "hamp answers with the confidence of random inputs: images, or features of 0 and 1. These features are "
        "neither; use hamp_training, which is the part of it that acts on training."
    ]


def behind_random_answers(trained: Trained, generator: torch.Generator) -> nn.Module:
    """The trained model behind ``RandomAnswers``.

    Raises:
        SettingError: If inputs are neither images nor bits.
    """
    raise_all(no_random_inputs(trained.members))
    return RandomAnswers(trained.model, spawn_seed(generator))
