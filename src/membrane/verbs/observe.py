"""From a bank of models to what an attack sees of one of them, and to the scores of all of them as targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from membrane.attacks import ATTACKS, Attack
from membrane.core.errors import NotEnoughDataError, SettingError, raise_all
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


def choose_attacks(attacks: Sequence[str | Attack] | None, n_models: int, n_population: int) -> list[Attack]:
    """The named attacks, checked; or all that a bank of this size can feed.

    Raises:
        SettingError: If a name is unknown or given twice.
        NotEnoughDataError: If a named attack cannot run.
    """
    if attacks is None:
        n_each = n_models // 2 - 1
        return [attack for name in ATTACKS if not (attack := ATTACKS.make(name)).missing(n_each, n_each, n_population)]
    made = [ATTACKS.make(one) if isinstance(one, str | dict) else one for one in attacks]
    names = [attack.name for attack in made]
    if len(set(names)) != len(names) or not names:
        raise SettingError(f"attacks are {names}; name each once, and at least one.")
    check_attacks(made, n_models, n_population)
    return made
