"""How a defense refuses settings outside their ranges: all of them at once, each with its range."""

from __future__ import annotations

from membrane.core.errors import raise_all
from membrane.training.defense import Defense


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
