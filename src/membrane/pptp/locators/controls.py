"""Two controls that every estimator of where risk lives has to pass: a planted memory, and permuted membership.

Planting: a network is trained on other data first, and then one region alone is trained on examples to memorize, all
others frozen. Whatever it knows of them lies in that region, by construction. Idea of the benchmark INJ of Chang et al.
2024, "Do Localization Methods Actually Localize Memorized Data in LLMs?", arXiv:2311.09060; there the weights are a few
neurons of a language model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from membrane.core.generators import spawn_seed
from membrane.data.examples import Examples, joined
from membrane.pptp.locators.locator import Subject
from membrane.pptp.locators.twins import Twins
from membrane.pptp.probe import Probe
from membrane.regions import Trail, copy_state, load_state
from membrane.training.defense import Trained
from membrane.training.loop import fit
from membrane.training.recipe import Recipe


@dataclass(frozen=True)
class Memories:
    """Examples for planting, all drawn alike, none of them seen before; mislabelled ones leave no other way but memory.

    Args:
        planted: That the network memorizes, 500 or more.
        of_twin: That its twin memorizes instead, as many as ``planted`` or fewer.
        holdout: That neither sees, 500 or more.
        unseen: Ordinary examples that neither sees, for the accuracy of hybrids.
    """

    planted: Examples
    of_twin: Examples
    holdout: Examples
    unseen: Examples


def plant(begun: Trained, region: str, memories: Memories, recipe: Recipe, generator: torch.Generator) -> Subject:
    """A network that remembers in one region only, with its whole history and its twin.

    Args:
        begun: A training that has seen none of the memories; not changed.
        region: That alone is trained on.
        memories: What is memorized, and what is compared with it.
        recipe: Of the second training. Its network is that of ``begun``.
        generator: Seed of the second training, the same for the twin, and draws of the probe.

    Raises:
        SettingError: If there is no such region.
        NotEnoughDataError: If there are too few examples.
    """
    part = replace(recipe, trainable=(region,))
    begin, seed = copy_state(begun.model), spawn_seed(generator)
    after = fit(part, memories.planted, None, seed, begin=begin)
    twin = fit(part, memories.of_twin, None, seed, begin=begin).model
    probe = Probe(
        after.model, _history(begun, after), memories.planted, memories.holdout, generator, recipe.augmentation
    )
    own = memories.planted[: len(memories.of_twin)]
    twins = Twins(copy_state(after.model), copy_state(twin), own, memories.of_twin, begun.members, memories.unseen)
    return Subject(probe, memories.planted, recipe, twins)


def _history(begun: Trained, after: Trained) -> Trail:
    """One trail of the kept epochs of both trainings."""
    work = copy.deepcopy(after.model)
    trail, whole = Trail(work, keep=None), copy_state(work)
    for one in (begun.trail, after.trail):
        for epoch in one.epochs:
            load_state(work, {**whole, **one.at(epoch)})
            trail.accumulate()
            trail.snapshot()
    return trail


def permuted(subject: Subject, holdout: Examples, generator: torch.Generator) -> Subject:
    """The same network among members and non-members that are half members each: nothing is left to find.

    Args:
        subject: Not changed. Its twins get their own examples mixed as well; give it some, since an estimator that
            trains its own afterwards trains real ones, of which there is something to find.
        holdout: Non-members, as many as are members or fewer.
        generator: Draws the halves.
    """
    probe = subject.probe
    members, others = _mixed(subject.members[: len(holdout)], holdout, generator)
    twins = subject.twins
    if twins is not None:
        n = min(len(twins.of_first), len(twins.of_second))
        first, second = _mixed(twins.of_first[:n], twins.of_second[:n], generator)
        twins = replace(twins, of_first=first, of_second=second)
    again = Probe(probe.model, probe.trail, members, others, generator, probe.augment)
    return Subject(again, members, subject.recipe, twins)


def _mixed(first: Examples, second: Examples, generator: torch.Generator) -> tuple[Examples, Examples]:
    """Two sets of examples, of which each holds half of both given ones."""
    halves = [
        [one[part] for part in torch.randperm(len(one), generator=generator).tensor_split(2)] for one in (first, second)
    ]
    return joined(halves[0][0], halves[1][0]), joined(halves[0][1], halves[1][1])
