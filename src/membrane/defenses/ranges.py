"""How a defense refuses what does not fit, all mistakes at once: settings outside their ranges, data it cannot use."""

from __future__ import annotations

from membrane.core.errors import raise_all
from membrane.data.examples import Examples
from membrane.training.defense import Defense, Start, Trained


def check(defense: Defense, **fits: tuple[bool, str]) -> None:
    """Refuse settings that do not fit.

    Args:
        defense: Whose they are.
        fits: By setting: whether its value fits (write comparisons so that NaN does not), and what it must be.

    Raises:
        SettingError: Listing every setting that does not.
    """
    raise_all(
        f"{defense.name}: {setting} is {getattr(defense, setting)!r}; it must be {rule}."
        for setting, (ok, rule) in fits.items()
        if not ok
    )


def holdout_of(defense: Defense, run: Start | Trained) -> Examples:
    """The holdout of a run, for a defense that cannot do without one.

    Raises:
        SettingError: Listing what the defense finds wrong with the run's data.
    """
    n_holdout = len(run.holdout) if run.holdout else 0
    raise_all(defense.mistakes(run.recipe, len(run.members), n_holdout))
    assert run.holdout is not None
    return run.holdout
