"""From a bank of models to what an attack sees of one of them, and to the scores of all of them as targets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from membrane.attacks import Attack
from membrane.core.errors import NotEnoughDataError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.values import Bools, Ints, Observation
from membrane.data.membership import without_pair
from membrane.training import Bank


def observe(bank: Bank, membership: Bools, labels: Ints, target: int) -> Observation:
    """What an attacker sees of model ``target``: its signals, and all others but its partner as references.

    Args:
        bank: Signals of R models.
        membership: (R, N); only the references' rows go into the observation.
        labels: (N,), as trained.
        target: Row of the model under attack.
    """
    references = without_pair(target, len(membership))
    return Observation(
        target=bank.pool.map(lambda values: values[target]),
        reference=bank.pool.map(lambda values: values[references]),
        in_reference=membership[references],
        labels=labels,
        population=bank.test.map(lambda values: values[target]),
        population_reference=bank.test.map(lambda values: values[references]),
    )


def check_attacks(attacks: list[Attack], n_models: int, n_population: int) -> None:
    """Refuse attacks that a bank of this size cannot feed, before any of it is trained.

    Raises:
        NotEnoughDataError: Listing everything that is missing.
    """
    n_each = n_models // 2 - 1  # IN and OUT references when a target's partner is left out
    raise_all(
        (mistake for attack in attacks for mistake in attack.missing(n_each, n_each, n_population)),
        NotEnoughDataError,
    )


def score_bank(
    bank: Bank, membership: Bools, labels: Ints, attacks: list[Attack], progress: Progress = silent
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores (R, N) of each attack by name, every model playing target once."""
    n_models = len(membership)
    scores: dict[str, list[npt.NDArray[np.float64]]] = {attack.name: [] for attack in attacks}
    for target in range(n_models):
        seen = observe(bank, membership, labels, target)
        for attack in attacks:
            scores[attack.name].append(attack(seen))
        progress("score", target + 1, n_models)
    return {name: np.stack(rows) for name, rows in scores.items()}
