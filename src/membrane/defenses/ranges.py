"""How a defense refuses what does not fit, all mistakes at once: settings outside their ranges, data it cannot use."""

from __future__ import annotations

from membrane.core.errors import raise_all
from membrane.core.settings import check_ranges
from membrane.data.examples import Examples
from membrane.training.defense import Defense, Start, Trained


def check(defense: Defense, **fits: tuple[bool, str]) -> None:
    """Refuse settings of a defense that do not fit, by its name; see ``check_ranges``."""
    check_ranges(defense, f"{defense.name}: ", **fits)


def holdout_of(defense: Defense, run: Start | Trained) -> Examples:
    """The holdout of a run, for a defense that cannot do without one.

    Raises:
        SettingError: Listing what the defense finds wrong with the run's data.
    """
    n_holdout = len(run.holdout) if run.holdout else 0
    raise_all(defense.mistakes(run.recipe, len(run.members), n_holdout))
    assert run.holdout is not None
    return run.holdout
