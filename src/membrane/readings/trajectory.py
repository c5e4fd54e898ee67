"""Loss trajectory: the losses of students along their way to the model's answers.

Source: Liu, Zhao, Backes and Zhang 2022, "Membership Inference Attacks by Exploiting Loss Trajectory",
arXiv:2208.14933: the model is distilled by the Kullback-Leibler divergence from its answers on auxiliary data, and an
example's losses under the student after each epoch, and under the model itself, are what is read. Where we differ: the
auxiliary data are the population; 10 epochs instead of 100; AdamW, which needs no rate tuned for each architecture,
instead of SGD.

Cost for each model: ``epochs`` passes of training over the population, and after each a look at every example.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.errors import ModelError
from membrane.core.settings import check_ranges
from membrane.data.examples import Examples
from membrane.data.loader import Batch
from membrane.models import initialize, logits_of, signals_of
from membrane.models.signals import device_of
from membrane.readings.fitting import fit_normalization, fitting, population_mistakes, population_of, small_network
from membrane.readings.inside import inside
from membrane.readings.reading import Reading, Reveals

Student = Literal["same", "small"]


@dataclass(frozen=True)
class Trajectory(Reading):
    """Losses in nats, K = epochs + 1: under the student after each epoch, then under the model.

    The students were trained on the population: what is read there is not what it would be of other strangers.

    Args:
        epochs: Of distilling, 1 or more.
        student: "same": the model's architecture with fresh weights, of which the attacker has to know the
            architecture; "small": the zoo's default for such inputs, a ResNet or an MLP.

    Raises:
        SettingError: If a setting is outside its range.
    """

    name: ClassVar[str] = "trajectory"
    threat_model: ClassVar[Reveals] = "scores"

    epochs: int = 10
    student: Student = "same"

    def __post_init__(self) -> None:
        check_ranges(
            self,
            epochs=(self.epochs >= 1, "1 or more"),
            student=(self.student in get_args(Student), f"one of {', '.join(get_args(Student))}"),
        )

    def mistakes(self, pool: Examples, population: Examples | None) -> list[str]:
        return population_mistakes(population)

    def read(
        self, model: nn.Module, pool: Examples, population: Examples | None, generator: torch.Generator
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        public = population_of(population)
        answers = torch.log_softmax(logits_of(model, public), 1)  # (Z, C)

        def divergence(logits: Tensor, batch: Batch) -> Tensor:
            wanted = answers[batch.index].to(logits.device)
            return F.kl_div(F.log_softmax(logits, 1), wanted, reduction="batchmean", log_target=True)

        student = self._fresh(model, public, generator)
        steps = [[signals_of(student, part).loss for part in (pool, public)]
                 for _ in fitting(student, public, divergence, self.epochs, generator)]  # fmt: skip
        steps.append([signals_of(model, part).loss for part in (pool, public)])
        of_pool, of_public = (np.concatenate(losses, axis=1) for losses in zip(*steps, strict=True))
        return of_pool, of_public

    def _fresh(self, model: nn.Module, public: Examples, generator: torch.Generator) -> nn.Module:
        device = device_of(model)
        if self.student == "small":
            return small_network(public, len(public.classes), generator).to(device)
        network = copy.deepcopy(inside(model)).cpu()
        if not any(True for _ in network.parameters()):
            raise ModelError('nothing is known of the model\'s architecture; distil it into student = "small".')
        initialize(network.requires_grad_(), generator)
        fit_normalization(network, public)
        return network.to(device)
