"""DP-SGD: each example's gradient is clipped, noise is added, and a bound on what any attack can do follows.

Source: Abadi et al. 2016, "Deep Learning with Differential Privacy", arXiv:1607.00133, through Opacus (Yousefpour et
al. 2021, arXiv:2109.12298; extra ``dp``). "Heuristic" settings with tiny noise, whose bound says nothing but which do
well in audits: Aerni et al. 2024, arXiv:2404.17399.

Variants, all under the same accountant. Per layer: each weight's gradient is clipped to ``clip`` over the square root
of their number (McMahan et al. 2018, arXiv:1710.06963, section 3.3). Adaptive: the norm follows the median of the
gradients' (Andrew et al. 2021, arXiv:1905.03871, quantile 0.5, rate 0.2, noise of a twentieth of the batch size on the
count, which the noise on gradients makes up for); the fraction is the paper's, of the expected batch size, where Opacus
divides by the size that happened to be drawn, which its accounting leaves out. Several views: gradients of an example's
augmentations are averaged before clipping (De et al. 2022, arXiv:2204.13650).

What is done, and what epsilon then means. Each update draws every member by itself with probability q = 1 / (updates of
an epoch), so batches vary in size around the recipe's batch_size (Poisson sampling, as Opacus does it and as its
accountant supposes); the sum of clipped gradients plus noise is divided by the expected size. Epsilon is the RDP
accountant's for (noise, q, number of updates) at delta: an upper bound for adding or removing one example, whatever the
attacker knows, the final weights and all between included, the trail too.

It does not cover: choosing settings on the same members; a start from weights that saw them; what a defense on top does
with the members after training (PPTP measures on them: then epsilon is not that of the release); noise whose seed is
known. Noise comes from the run's seed, so that audits can be repeated: keep the seed of a released model secret, and
draw it at random. Inputs are normalized by constants (images: mean 0.5, std 0.25; features: as they are), since the
members' own statistics would lie outside the bound.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf, isfinite
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from membrane.core.errors import SettingError
from membrane.core.generators import torch_generator
from membrane.data.examples import Examples
from membrane.data.loader import Batch, Loader
from membrane.defenses.ranges import check
from membrane.models.model import Normalization
from membrane.training.defense import Defense, Finished, Start, Trained
from membrane.training.recipe import Recipe

VACUOUS = 20.0  # epsilon; the bound then lets an attack be right in all but 1 of 500 million cases
Clipping = Literal["flat", "per_layer", "adaptive"]
_COUNT_NOISE = 1 / 20  # of the batch size: standard deviation of the noise on how many gradients were not clipped
_FPR = 0.001  # at which the bound on an attack's success is reported


@dataclass(frozen=True)
class DPSGD(Defense):
    """SGD on clipped gradients of single examples, plus Gaussian noise.

    Args:
        noise: Standard deviation of the noise as a multiple of ``clip``, 0 or more; 0 clips only and bounds nothing.
        clip: Largest L2 norm of one example's gradient over all weights, above 0.
        delta: At which epsilon is reported, above 0, below 1 over the number of members.
        clipping: "flat" (over all weights), "per_layer" or "adaptive", which begins at ``clip``.
        views: Augmentations of each example in a batch, 1 or more; more need the recipe's augment.

    Raises:
        SettingError: If a setting lies outside its range; in training, if Opacus is not installed or the network mixes
            examples (BatchNorm).
    """

    name: ClassVar[str] = "dp_sgd"
    source: ClassVar[str] = "Abadi et al. 2016, arXiv:1607.00133, through Opacus, arXiv:2109.12298"
    strength: ClassVar[str | None] = "noise"
    does_not_stop: ClassVar[str] = "what epsilon allows: at little noise it allows all, and only an audit tells"
    notes: ClassVar[str] = (
        "Poisson sampling, RDP accountant, three kinds of clipping; needs pip install 'membrane[dp]' and a network "
        "without BatchNorm; epsilon holds while the run's seed is secret"
    )

    noise: float = 1.0
    clip: float = 1.0
    delta: float = 1e-5
    clipping: Clipping = "flat"
    views: int = 1

    def __post_init__(self) -> None:
        check(
            self,
            noise=(0 <= self.noise < inf, "0 or more"),
            clip=(0 < self.clip < inf, "above 0"),
            delta=(0 < self.delta < 1, "a probability above 0"),
            clipping=(self.clipping in get_args(Clipping), "'flat', 'per_layer' or 'adaptive'"),
            views=(self.views >= 1, "1 or more"),
        )

    def mistakes(self, recipe: Recipe, n_members: int, n_holdout: int) -> list[str]:
        """Whether Opacus is there, and the recipe one that it can train."""
        found = []
        if importlib.util.find_spec("opacus") is None:
            found.append(f"{self.name} needs Opacus: pip install 'membrane[dp]'.")
        if recipe.compile or recipe.precision != "float32":
            found.append(f"{self.name} trains in float32 and uncompiled; set compile = false, precision = 'float32'.")
        if recipe.lora:
            found.append(f"{self.name} does not know low-rank adapters; set lora = 0.")
        if self.views > 1 and not recipe.augment:
            found.append(f"{self.name}: {self.views} views of an example differ by augmentation; set augment = true.")
        expected = n_members / updates(n_members, recipe.batch_size)
        if self.clipping == "adaptive" and self.noise >= 2 * _COUNT_NOISE * expected:
            found.append(
                f"{self.name}: adaptive clipping spends part of the noise on a count, and {self.noise} is too much for "
                f"batches of {expected:.0f}; it must be below {2 * _COUNT_NOISE * expected:g}. Raise batch_size."
            )
        if self.delta * n_members >= 1:
            found.append(f"{self.name}: delta is {self.delta}; for {n_members} members it must be below one over that.")
        return found

    def data_mistakes(self, recipe: Recipe, members: Examples, holdout: Examples | None) -> list[str]:
        """Whether the network gives each example an answer of its own."""
        with torch.device("meta"):
            network = recipe.model.network(tuple(members.x.shape[1:]), len(members.classes))
        if not any(isinstance(module, _BatchNorm) for module in network.modules()):
            return []
        fix = f'model = {{ name = "{recipe.model.name}", norm = "group" }}'
        return [
            f"{self.name}: BatchNorm mixes examples, so that none has a gradient of its own. Use GroupNorm: {fix}, "
            f'{type(recipe.model).__name__}(norm="group") in Python.'
        ]

    def prepared(self, start: Start) -> Defense:
        is_image = start.members.x.ndim == 4
        for module in start.model.modules():
            if isinstance(module, Normalization):
                module.mean.fill_(0.5 if is_image else 0.0)
                module.std.fill_(0.25 if is_image else 1.0)
        return _Private(self, start)

    def finish(self, trained: Trained, generator: torch.Generator) -> Finished:
        """The model as trained, with what was spent."""
        return Finished(trained.model, self.spent(trained.recipe, len(trained.members)))

    def spent(self, recipe: Recipe, n_members: int) -> dict[str, Any]:
        """The bound of a training: epsilon (None if there is none), and what it lets an attack do."""
        n_steps = updates(n_members, recipe.batch_size)
        epsilon = epsilon_of(self.noise, 1 / n_steps, n_steps * recipe.n_epochs, self.delta)
        return {
            "epsilon": epsilon if isfinite(epsilon) else None,
            "delta": self.delta,
            "vacuous": epsilon > VACUOUS,
            "tpr_bound": tpr_bound(epsilon, self.delta, _FPR),
            "tpr_bound_at_fpr": _FPR,
            "accountant": "rdp",
            "sample_rate": 1 / n_steps,
            "updates": n_steps * recipe.n_epochs,
        }


def updates(n_members: int, batch_size: int) -> int:
    """Updates of an epoch; each draws every member with probability 1 over this."""
    return max(round(n_members / batch_size), 1)


def epsilon_of(noise: float, sample_rate: float, n_updates: int, delta: float) -> float:
    """Epsilon at ``delta`` by Opacus' RDP accountant; infinity without noise.

    Raises:
        SettingError: If Opacus is not installed.
    """
    if noise == 0:
        return inf
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as problem:
        raise SettingError("dp_sgd needs Opacus: pip install 'membrane[dp]'.") from problem
    accountant = RDPAccountant()
    accountant.history = [(noise, sample_rate, n_updates)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a wider range of orders might give a smaller bound; it stays one
        return float(accountant.get_epsilon(delta))


def tpr_bound(epsilon: float, delta: float, fpr: float) -> float:
    """Largest true-positive rate at ``fpr`` that (epsilon, delta)-differential privacy leaves any attack.

    Source: Kairouz et al. 2015, "The Composition Theorem for Differential Privacy", arXiv:1311.0776, theorem 2.1.

    >>> tpr_bound(0.0, 0.0, 0.01), round(tpr_bound(1.0, 0.0, 0.01), 4), tpr_bound(float("inf"), 0.0, 0.01)
    (0.01, 0.0272, 1.0)
    """
    small = exp(min(epsilon, 700)) * fpr + delta
    return min(small, 1 - exp(-epsilon) * (1 - delta - fpr), 1.0)


class _Private(DPSGD):
    """One training with its per-example gradients and its noise."""

    def __init__(self, settings: DPSGD, start: Start) -> None:
        super().__init__(**vars(settings))
        self.start = start

    def wrap(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader
    ) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
        from opacus import GradSampleModule
        from opacus.validators import ModuleValidator

        # Opacus 1.6 reads a convolution's inputs by fixed strides: in another memory format, those of other examples.
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        wrong = ModuleValidator.validate(model, strict=False)
        if wrong:
            raise SettingError(f"{self.name}: {wrong[0]}")
        try:
            self.examples: Any = GradSampleModule(model)
        except NotImplementedError as problem:
            raise SettingError(f"{self.name}: Opacus cannot train this network. {problem}") from problem
        poisson = PoissonLoader(
            loader.examples, loader.batch_size, loader.augment, loader.device, loader.room, self.views
        )
        # The loop keeps the plain optimizer, whose rate it sets and whose updates the trail follows.
        self.private = private_optimizer(self, optimizer, len(loader.examples) / len(poisson), _noise(self.start))
        wrapped: nn.Module = self.examples
        return wrapped, optimizer, poisson

    def loss(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """Cross-entropy; of a batch that happens to be empty, 0."""
        return super().loss(logits, batch, epoch) if len(batch.y) else logits.sum()

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.private.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            loss.backward()  # type: ignore[no-untyped-call]
        if self.views > 1:
            for parameter in self.private.params:
                views = parameter.grad_sample
                parameter.grad_sample = views.reshape(self.views, -1, *views.shape[1:]).mean(0)
        self.private.step()

    def end_epoch(self, model: nn.Module, epoch: int) -> None:
        if epoch == self.start.recipe.n_epochs - 1:
            self.private.zero_grad(set_to_none=True)
            self.examples.to_standard_module()


def private_optimizer(
    settings: DPSGD, optimizer: torch.optim.Optimizer, expected: float, generator: torch.Generator
) -> Any:  # noqa: ANN401 -- Opacus may not be installed
    """Opacus' optimizer around another one.

    Args:
        settings: Noise and clipping.
        optimizer: Whose updates become private.
        expected: Batch size; need not be whole.
        generator: Of the noise, where the weights are.
    """
    from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer, DPPerLayerOptimizer

    class AdaClip(AdaClipDPOptimizer):  # type: ignore[misc, unused-ignore]
        """With the paper's share of gradients that are not clipped: (sum of (b_i - 1/2) + noise) / m + 1/2."""

        def clip_and_accumulate(self) -> None:
            if len(self.grad_samples[0]):
                super().clip_and_accumulate()
            else:  # Opacus 1.6 stumbles over a batch that happens to be empty
                self.unclipped_num = torch.zeros((), device=self.params[0].device)
                DPOptimizer.clip_and_accumulate(self)

        def update_max_grad_norm(self) -> None:
            self.unclipped_num += (expected - float(self.sample_size)) / 2
            self.sample_size: float = expected
            super().update_max_grad_norm()

    shared = {"noise_multiplier": settings.noise, "expected_batch_size": expected, "generator": generator}
    if settings.clipping == "per_layer":
        n = sum(parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"])
        return DPPerLayerOptimizer(optimizer, max_grad_norm=[settings.clip / n**0.5] * n, **shared)
    if settings.clipping == "adaptive":
        return AdaClip(
            optimizer,
            max_grad_norm=settings.clip,
            target_unclipped_quantile=0.5,
            clipbound_learning_rate=0.2,
            max_clipbound=1e6 * settings.clip,
            min_clipbound=1e-6 * settings.clip,
            unclipped_num_std=_COUNT_NOISE * expected,
            **shared,
        )
    return DPOptimizer(optimizer, max_grad_norm=settings.clip, **shared)


def _noise(start: Start) -> torch.Generator:
    """Generator of the noise, where the weights are."""
    seed = torch_generator(start.seed, "noise").initial_seed()
    return torch.Generator(start.device).manual_seed(seed)


@dataclass(frozen=True)
class PoissonLoader(Loader):
    """Batches to which each example belongs by a draw of its own; arguments as of ``Loader``.

    Args:
        views: Augmentations of each example; a batch holds the first of all, then the second of all ...
    """

    views: int = 1

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        """As many batches as an epoch has updates; some examples may be in several, some in none."""
        x, y = self._inputs(), self.examples.y.to(self.device)
        for _ in range(len(self)):
            drawn = torch.rand(len(y), generator=generator, dtype=torch.float64) < 1 / len(self)
            index = torch.nonzero(drawn)[:, 0].repeat(self.views)
            batch = self._batch(x, y, index, generator)
            yield Batch(batch.x.contiguous(), batch.y, index)

    def __len__(self) -> int:
        return updates(len(self.examples), self.batch_size)
