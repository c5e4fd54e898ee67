"""Every defense there is: those of the defenses room, and PPTP with what belongs to it."""

from __future__ import annotations

from membrane.core.catalogue import Catalogue
from membrane.defenses import DEFENSES as OTHERS
from membrane.pptp.defense import PPTP, FrozenPlan, RegionWindow
from membrane.pptp.refit import OutOfFoldRefit
from membrane.pptp.rewind import RewindRefit
from membrane.pptp.routing import GradientRouting
from membrane.training import Defense

DEFENSES: Catalogue[Defense] = Catalogue(
    "defense",
    [
        *(OTHERS.entry(name) for name in OTHERS),
        PPTP,
        FrozenPlan,
        RegionWindow,
        OutOfFoldRefit,
        GradientRouting,
        RewindRefit,
    ],
)
