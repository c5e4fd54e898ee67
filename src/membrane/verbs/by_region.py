"""Where the leak can be read: every region of the network attacked by itself, in three ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from membrane.attacks import Attack, GradientNorm, Region
from membrane.attacks.region import Of, regions_of
from membrane.core.errors import NotEnoughDataError, raise_all
from membrane.data import Task
from membrane.data.membership import references_each
from membrane.metrics import share_interval
from membrane.training import Bank
from membrane.verbs.measure import LEVEL, measure, plain_interval
from membrane.verbs.observe import score_bank


def with_regions(attacks: Sequence[Attack], n_models: int) -> list[Attack]:
    """The attacks, and those whose readings ``by_region`` needs if they are not among them.

    Args:
        attacks: Of an audit.
        n_models: That it trains.

    Raises:
        NotEnoughDataError: If these are too few to compare a region with.
    """
    n_each = references_each(n_models)
    more = (Region(), GradientNorm())
    raise_all((lack for one in more for lack in one.missing(n_each, n_each, one.min_population)), NotEnoughDataError)
    names = {attack.name for attack in attacks}
    return [*attacks, *(one for one in more if one.name not in names)]


def by_region(bank: Bank, task: Task, seed: int) -> dict[str, Any] | None:
    """AUC of LiRA with its interval at every region, by what is read there and by slice.

    None if no region was read, or the models are too few to compare one with.

    Every model plays target against all others but its partner, which keep what was chosen for each of them.

    Args:
        bank: Signals and readings of R models.
        task: With the membership of these.
        seed: As of the audit.
    """
    places, scores = [], {}
    n_each = references_each(len(task.membership))
    if Region().missing(n_each, n_each, len(task.test)):
        return None
    for of in get_args(Of):
        reading = Region(of=of).reading
        if reading.key not in bank.pool.readings:
            continue
        columns = bank.facts[0].get("columns", {}).get(reading.key)
        for position in range(regions_of(of, bank.pool[reading.key]).shape[-1]):
            name = _region_name(of, position, columns)
            attack = Region(of=of, region=position)
            (scores[f"{of} {position}"],) = score_bank(bank, task.membership, task.pool.y.numpy(), [attack]).values()
            places.append((f"{of} {position}", {"region": name, "of": of}))
    if not places:
        return None
    found = measure(bank, scores, task, seed)
    each = found.models_per_cluster
    return {
        "base": Region().base.name,
        "places": [
            place
            | {
                "slices": {
                    part.name: plain_interval(
                        share_interval(found.leakage(key, part.name), models_per_cluster=each, level=LEVEL)
                    )
                    for part in found.slices
                }
            }
            for key, place in places
        ],
    }


def _region_name(of: Of, position: int, columns: Sequence[str] | None) -> str:
    """As the network calls it; its number where a store of an older version does not say."""
    named = [column.removeprefix(f"{of} ") for column in columns or () if column.startswith(f"{of} ")]
    named = [name for name in named if (of, name) != ("gradient", "input")]
    return named[position] if position < len(named) else str(position)
