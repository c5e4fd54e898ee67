"""From a bank of models to what an attack sees of one of them, and to the scores of all of them as targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from membrane.attacks import ATTACKS, Attack, Lineup
from membrane.core.errors import DataError, NotEnoughDataError, SettingError, raise_all
from membrane.core.progress import Progress, silent
from membrane.core.values import Bools, Ints, Observation
from membrane.data.examples import Examples
from membrane.readings import Reading, Reveals, distinct, opens
from membrane.training import Bank


def observe(bank: Bank, membership: Bools, labels: Ints, target: int) -> Observation:
    """What an attacker sees of model ``target``: its signals, and all others but its partner as references.

    Args:
        bank: Signals of R models.
        membership: (R, N); only the references' rows go into the observation.
        labels: (N,), as trained.
        target: Row of the model under attack.
    """
    return Lineup(bank.pool, membership, labels, bank.test).observe(target)


def score_bank(
    bank: Bank, membership: Bools, labels: Ints, attacks: list[Attack], progress: Progress = silent
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores (R, N) of each attack by name, every model playing target once.

    Raises:
        DataError: If rows 2k and 2k+1 of ``membership`` are not complements.
    """
    lineup = Lineup(bank.pool, membership, labels, bank.test)
    scores = {}
    for done, attack in enumerate(attacks, 1):
        scores[attack.name] = attack.against_all(lineup)
        progress("score", done, len(attacks))
    return scores


def choose_attacks(
    attacks: Sequence[str | Attack] | None, n_in: int, n_out: int, n_population: int, reveals: Reveals = "weights"
) -> list[Attack]:
    """The named attacks, checked; or all that can run.

    Args:
        attacks: Names or objects; None for all that can run.
        n_in: Fewest IN references that an example has.
        n_out: Fewest OUT references.
        n_population: Population examples.
        reveals: What the target opens to an attacker.

    Raises:
        SettingError: If a name is unknown or given twice.
        NotEnoughDataError: If a named attack cannot run, listing everything that is missing.
    """
    if attacks is None:
        known = [ATTACKS.make(name) for name in ATTACKS]
        return [one for one in known if one.by_default and not _missing(one, n_in, n_out, n_population, reveals)]
    made = [ATTACKS.make(one) if isinstance(one, str | dict) else one for one in attacks]
    names = [attack.name for attack in made]
    if len(set(names)) != len(names) or not names:
        raise SettingError(f"attacks are {names}; name each once, and at least one.")
    raise_all(
        (mistake for attack in made for mistake in _missing(attack, n_in, n_out, n_population, reveals)),
        NotEnoughDataError,
    )
    return made


def readings_of(attacks: Iterable[Attack]) -> tuple[Reading, ...]:
    """Every reading that any of the attacks needs, once."""
    return distinct(reading for attack in attacks for reading in attack.readings)


def refuse_unreadable(attacks: Iterable[Attack], pool: Examples, population: Examples | None) -> None:
    """Refuse attacks of which a reading cannot be taken on these data.

    Raises:
        DataError: Listing everything that stops them.
    """
    raise_all(
        (
            f"attack {attack.name!r}: {mistake}"
            for attack in attacks
            for reading in attack.readings
            for mistake in reading.mistakes(pool, population)
        ),
        DataError,
    )


def _missing(attack: Attack, n_in: int, n_out: int, n_population: int, reveals: Reveals) -> list[str]:
    found = attack.missing(n_in, n_out, n_population)
    if not opens(reveals, attack.threat_model):
        only = "labels only" if reveals == "labels" else "scores only"
        found.append(f"attack {attack.name!r} reads {attack.threat_model}, and this model answers with {only}.")
    return found
