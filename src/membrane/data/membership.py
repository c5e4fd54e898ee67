"""Who is in which model's training set: complementary pairs, so that counting references gives nothing away."""

from __future__ import annotations

import numpy as np
import torch

from membrane.core.errors import SettingError
from membrane.core.values import Bools, Ints


def complementary_pairs(n_models: int, n_examples: int, generator: torch.Generator) -> Bools:
    """Membership matrix (R, N): models 2k and 2k+1 train on complementary random halves.

    Each example is IN exactly one model of each pair. When a model plays target and its partner is left
    out, every example has R/2 - 1 IN and R/2 - 1 OUT references whether or not it is a member of the
    target, so the counts alone score exactly 0.5. (With half of the models IN and only the target left
    out, the counts differ by one between members and non-members.)

    Args:
        n_models: R, even, at least 2.
        n_examples: N, at least 2; of an odd N the even-numbered models get the smaller half.
        generator: Draws one permutation per pair.

    Raises:
        SettingError: If R is odd or either number is below 2.
    """
    refuse_odd(n_models)
    if n_examples < 2:
        raise SettingError(f"there are {n_examples} examples; a split into halves needs 2 or more.")
    members = np.zeros((n_models, n_examples), dtype=bool)
    for pair in range(0, n_models, 2):
        first_half = torch.randperm(n_examples, generator=generator)[: n_examples // 2].numpy()
        members[pair, first_half] = True
        members[pair + 1] = ~members[pair]
    return members


def refuse_odd(n_models: int) -> None:
    """Refuse numbers of models that do not come in pairs.

    Raises:
        SettingError: If ``n_models`` is odd or below 2.
    """
    if n_models < 2 or n_models % 2:
        raise SettingError(f"there are {n_models} models; complementary pairs need an even number, 2 or more.")


def without_pair(target: int, n_models: int) -> Ints:
    """Rows of the reference models when ``target`` is attacked: all but it and its partner.

    >>> without_pair(3, 6).tolist()
    [0, 1, 4, 5]
    """
    return np.array([row for row in range(n_models) if row // 2 != target // 2], dtype=np.int64)


def references_each(n_models: int) -> int:
    """IN references, and as many OUT ones, of every example when a target's partner is left out."""
    return n_models // 2 - 1
