"""DMP: distillation for membership privacy, a student that never sees the members.

Source: Shejwalkar and Houmansadr 2021, "Membership Privacy for Machine Learning Models Through Knowledge Transfer",
AAAI 2021, arXiv:1906.06589, and the authors' code: an undefended teacher is trained on the members; of the reference
inputs, those are kept on which the teacher is surest (lowest entropy); the student is trained from scratch on the
Kullback-Leibler divergence from the teacher's answers, both at ``temperature``, on these inputs alone. The reference
set is the holdout. Where we differ: their code averages the divergence over examples and classes, ours over examples,
so that its rate is ours over C; teacher and student train by one recipe, for as many epochs. Without the variant whose
reference inputs come from a generative network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import derive_seed
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader
from membrane.defenses.confidence_penalty import entropy
from membrane.defenses.ranges import check, holdout_of
from membrane.models import at_work, logits_of
from membrane.training.defense import Defense, Start
from membrane.training.loop import fit
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class DMP(Defense):
    """Train on a teacher's answers to the holdout.

    Args:
        share: Of the holdout that is kept, the part the teacher is surest of; above 0, at most 1. Less protects more:
            sure answers tell less about the members.
        temperature: Of both softmax, above 0.

    Raises:
        SettingError: If a setting lies outside its range; in training, if there is too small a holdout.
    """

    name: ClassVar[str] = "dmp"
    source: ClassVar[str] = "Shejwalkar and Houmansadr 2021, arXiv:1906.06589"
    strength: ClassVar[str | None] = "share"
    extra_data: ClassVar[str] = "holdout: non-members, the only inputs that the student sees"
    trains_on_holdout: ClassVar[bool] = True
    does_not_stop: ClassVar[str] = (
        "what the teacher's answers carry over about members (Jagielski et al. 2023, arXiv:2303.03446); attacks on the "
        "holdout, which is the student's training set"
    )
    notes: ClassVar[str] = "labels of the holdout are not used; accuracy rests on its size; without the GAN variant"

    share: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check(
            self,
            share=(0 < self.share <= 1, "a share above 0, at most 1"),
            temperature=(0 < self.temperature < inf, "above 0"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether the student has enough to learn from."""
        kept = int(self.share * n_holdout)
        if kept >= recipe.batch_size:
            return []
        return [
            f"{self.name} trains the student on the holdout alone, a batch ({recipe.batch_size}) at least; "
            f"{kept} are kept of {n_holdout}. Set holdout."
        ]

    def prepared(self, start: Start) -> Defense:
        holdout = holdout_of(self, start)
        recipe = replace(start.recipe, defense=Defense(), keep=2)

        def answers(_: int) -> Tensor:
            teacher = fit(recipe, start.members, None, derive_seed(start.seed, "teacher"), start.device).model
            with at_work(teacher):
                return logits_of(teacher, holdout)

        (logits,) = start.parts.each(["answers of the teacher"], answers)
        surest = entropy(logits).argsort(stable=True)[: int(self.share * len(holdout))]
        return _Student(self.temperature, holdout[surest], logits[surest])


class _Student(Defense):
    """Training on reference inputs and the teacher's logits for them, by position."""

    def __init__(self, temperature: float, reference: Examples, teacher: Tensor) -> None:
        self.temperature, self.reference, self.teacher = temperature, reference, teacher

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        return model, optimizer, replace(loader, examples=self.reference)

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        wanted = torch.log_softmax(self.teacher[batch.index].to(logits) / self.temperature, 1)
        answered = F.log_softmax(logits / self.temperature, 1)
        return F.kl_div(answered, wanted, reduction="none", log_target=True).sum(1)
