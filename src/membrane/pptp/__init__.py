"""PPTP: locate where risk lives, choose what to do about it, protect."""

from membrane.pptp.catalogue import DEFENSES
from membrane.pptp.choose import Budget, Choice, Search
from membrane.pptp.defense import PPTP, FrozenPlan, RegionWindow
from membrane.pptp.locators import LOCATORS, Locator, Subject, Twins, fork_twins, mix_response
from membrane.pptp.plan import Plan, Stretch
from membrane.pptp.probe import Probe
from membrane.pptp.protect import Protected, apply_plan, protect
from membrane.pptp.refit import OutOfFoldRefit
from membrane.pptp.rewind import RewindRefit
from membrane.pptp.risk_map import RiskMap
from membrane.pptp.routing import GradientRouting

__all__ = [
    "DEFENSES",
    "LOCATORS",
    "PPTP",
    "Budget",
    "Choice",
    "FrozenPlan",
    "GradientRouting",
    "Locator",
    "OutOfFoldRefit",
    "Plan",
    "Probe",
    "Protected",
    "RegionWindow",
    "RewindRefit",
    "RiskMap",
    "Search",
    "Stretch",
    "Subject",
    "Twins",
    "apply_plan",
    "fork_twins",
    "mix_response",
    "protect",
]
