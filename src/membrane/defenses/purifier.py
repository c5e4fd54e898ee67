"""Purifier: an autoencoder of non-members' answers speaks for the network, and some members' labels are swapped.

Source: Yang et al. 2023, "Purifier: Defending Data Inference Attacks via Transforming Confidence Scores", AAAI 2023,
arXiv:2212.00612, and code of the authors for "Defending Data Inference Attacks against Machine Learning Models by
Mitigating Prediction Distinguishability", which has the same two parts. A reading: of the paper, descriptions by others
were at hand.

Reformer: a conditional variational autoencoder of probabilities, trained on the holdout's. Encoder and decoder see the
predicted label, too; layers of ``hidden`` units with BatchNorm and ReLU, ``latent`` Gaussian variables, which are drawn
for answers as they are in training; Adam (0.5, 0.999, AMSGrad), batches of 50, first weights of standard deviation
0.01. The loss, as in the code, is the mean squared error over examples and classes plus the divergence of the latent
variables summed over the batch, so that these come to carry little beyond the label; plus, as in the paper,
``label_weight`` times the cross-entropy with the predicted label (no weight is published; the code has none).

Swapper: of the members, a share is drawn that is the gap of accuracy between members and holdout over the accuracy on
members. A query whose probabilities lie within ``near`` of those of a drawn member (L2) has its likeliest and second
likeliest class swapped, then the reformer answers. The paper swaps these two; the code swaps the likeliest with a class
drawn at random, and looks up whom to swap by position in the batch. Surely predicted queries that were not drawn, or
are no members, may lie as near; the code has them, too. Where we differ: the last epoch's reformer is kept, not the
best on test data; latent draws come from the query and a secret key, so that asking twice tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from membrane.core.generators import spawn_seed
from membrane.data.loader import batches_of
from membrane.defenses.ranges import check, holdout_of
from membrane.defenses.rewriting import KeyedRewriting
from membrane.models import at_work, logits_of
from membrane.training.defense import Defense, Finished, Stage, Trained
from membrane.training.recipe import Recipe

_FEWEST = 10  # of the holdout
_BATCH = 50
_BETAS = (0.5, 0.999)
_STD = 0.01  # of first weights


@dataclass(frozen=True)
class Purifier(Defense):
    """Answer as an autoencoder of non-members' answers does, some members' first two classes swapped.

    Args:
        swap: Part of the gap of accuracy that swapped labels make up for, from 0 to 1; 0 only reforms.
        label_weight: Of the cross-entropy with the predicted label, 0 or more.
        near: L2 distance of probabilities within which a query is taken for a known member, above 0.
        hidden: Units of the encoder's layers, the decoder's in reverse; the code has 32, 64, 128 for 10 classes, 128,
            256, 512 for 30 to 100, 512, 1024, 2048 for more.
        latent: Variables between them, 1 or more; in the code 2, 20 and 100.
        epochs: Of the reformer, 1 or more.
        lr: Its learning rate, above 0.

    Raises:
        SettingError: If a setting lies outside its range; after training, if there is no holdout.
    """

    name: ClassVar[str] = "purifier"
    source: ClassVar[str] = "Yang et al. 2023, arXiv:2212.00612"
    strength: ClassVar[str | None] = "swap"
    acts_on: ClassVar[Stage] = "release"
    rewrites_answers: ClassVar[bool] = True
    extra_data: ClassVar[str] = "holdout: non-members, whose answers the reformer learns"
    does_not_stop: ClassVar[str] = (
        "whoever has the file: the network and answers to members are in it; not tested by its source against attacks "
        "with references (LiRA)"
    )
    notes: ClassVar[str] = "as in its authors' code, swapped classes as in the paper; labels of members may change"
    reading: ClassVar[bool] = True

    swap: float = 1.0
    label_weight: float = 0.0
    near: float = 1e-5
    hidden: tuple[int, ...] = (32, 64, 128)
    latent: int = 2
    epochs: int = 300
    lr: float = 1e-4

    def __post_init__(self) -> None:
        check(
            self,
            swap=(0 <= self.swap <= 1, "a share from 0 to 1"),
            label_weight=(0 <= self.label_weight < inf, "0 or more"),
            near=(0 < self.near < inf, "above 0"),
            hidden=(bool(self.hidden) and min(self.hidden) >= 1, "the units of one layer or more"),
            latent=(self.latent >= 1, "1 or more"),
            epochs=(self.epochs >= 1, "1 or more"),
            lr=(0 < self.lr < inf, "above 0"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether there are answers of non-members to learn."""
        if n_holdout >= _FEWEST:
            return []
        return [f"{self.name} learns answers to a holdout of {_FEWEST} or more; there are {n_holdout}. Set holdout."]

    def trained_as(self) -> Defense:
        """Plain training: only answers change."""
        return Defense()

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The trained model behind its purifier."""
        holdout, members = holdout_of(self, trained), trained.members
        with at_work(trained.model) as model:
            theirs, ours = (logits_of(model, part).double() for part in (holdout, members))
        right = [float((z.argmax(1) == part.y).double().mean()) for z, part in ((ours, members), (theirs, holdout))]
        rate = self.swap * max(right[0] - right[1], 0.0) / max(right[0], 1e-30)
        drawn = torch.randperm(len(members), generator=generator)[: int(rate * len(members))]
        reformer = self.reformer(torch.softmax(theirs, 1).float(), generator)
        known = torch.softmax(ours[drawn], 1)
        model = Purified(trained.model, reformer, known, self.near, spawn_seed(generator))
        return Finished(model, {"swapped_members": len(drawn), "swap_rate": rate, "n": len(holdout)})

    def reformer(self, p: Tensor, generator: torch.Generator) -> Reformer:
        """A reformer of probabilities (N, C), trained on these."""
        reformer = Reformer(p.shape[1], self.hidden, self.latent, generator).train()
        optimizer = torch.optim.Adam(reformer.parameters(), self.lr, _BETAS, amsgrad=True)
        for _ in range(self.epochs):
            for index in batches_of(torch.randperm(len(p), generator=generator), _BATCH):
                draws = torch.randn(len(index), self.latent, generator=generator)
                optimizer.zero_grad()
                reformer.loss(p[index], draws, self.label_weight).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return reformer.eval().requires_grad_(requires_grad=False)


class Reformer(nn.Module):
    """Probabilities (B, C) and the label that they predict to logits (B, C) as an autoencoder has them.

    Args:
        n_classes: C.
        hidden: Units of the encoder's layers.
        latent: Variables L between encoder and decoder.
        generator: Draws the first weights.
    """

    def __init__(self, n_classes: int, hidden: Sequence[int], latent: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = _layers(2 * n_classes, *hidden)
        self.mean = _linear(hidden[-1], latent)
        self.log_variance = _linear(hidden[-1], latent)
        self.entry = _linear(latent + n_classes, hidden[-1])
        self.decoder = _layers(*reversed(hidden))
        self.exit = _linear(hidden[0], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_STD, generator=generator)
                nn.init.zeros_(module.bias)

    def encoded(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and logarithm of the variance (B, L) of the latent variables, and the one-hot predicted label (B, C)."""
        label = F.one_hot(p.argmax(1), p.shape[1]).to(p)
        inside = self.encoder(torch.cat([p, label], 1))
        return self.mean(inside), self.log_variance(inside), label

    def forward(self, p: Tensor, draws: Tensor) -> Tensor:
        mean, log_variance, label = self.encoded(p)
        return self._decoded(mean + draws * (log_variance / 2).exp(), label)

    def loss(self, p: Tensor, draws: Tensor, label_weight: float) -> Tensor:
        """What it is trained on, one number for the batch.

        Args:
            p: (B, C) probabilities.
            draws: (B, L) standard normal.
            label_weight: Of the cross-entropy with the predicted label.
        """
        mean, log_variance, label = self.encoded(p)
        answer = self._decoded(mean + draws * (log_variance / 2).exp(), label)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        loss = F.mse_loss(torch.softmax(answer, 1), p) + divergence
        return loss + label_weight * F.cross_entropy(answer, label) if label_weight else loss

    def _decoded(self, z: Tensor, label: Tensor) -> Tensor:
        answer: Tensor = self.exit(self.decoder(self.entry(torch.cat([z, label], 1))))
        return answer


def _linear(n_in: int, n_out: int) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    return layer


def _layers(*widths: int) -> nn.Sequential:
    parts = [(_linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()) for n_in, n_out in pairwise(widths)]
    return nn.Sequential(*(one for part in parts for one in part))


def swapped(p: Tensor, known: Tensor, near: float) -> Tensor:
    """Probabilities (B, C), the two largest swapped where a row of ``known`` (K, C) lies within ``near``."""
    if not len(known) or p.shape[1] < 2:
        return p
    nearest = torch.cdist(p, known, compute_mode="donot_use_mm_for_euclid_dist").amin(1)  # (B,); no cancellation
    two = p.topk(2, 1).indices
    other = p.scatter(1, two, p.gather(1, two.flip(1)))
    return torch.where((nearest < near)[:, None], other, p)


class Purified(KeyedRewriting):
    """A model whose answers a reformer gives, those of known members with their first two classes swapped.

    Args:
        model: Inputs (B, ...) to logits (B, C).
        reformer: Of its probabilities.
        known: (K, C) float64 probabilities that the model gives the members whose labels are swapped.
        near: Distance within which a query is one of them.
        key: Secret that, with the query, decides the latent draws.
    """

    known: Tensor

    def __init__(self, model: nn.Module, reformer: Reformer, known: Tensor, near: float, key: int) -> None:
        super().__init__(model, key)
        self.reformer, self.near = reformer, near
        self.register_buffer("known", known)

    def rewritten(self, logits: Tensor, x: Tensor) -> Tensor:
        p = swapped(torch.softmax(logits.double(), 1), self.known, self.near).to(logits)
        n_latent = self.reformer.mean.out_features
        draws = torch.stack([torch.randn(n_latent, generator=generator) for generator in self.generators(x)])
        answer: Tensor = self.reformer(p, draws.to(p))
        return answer
