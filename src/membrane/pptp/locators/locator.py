"""What every estimator of where risk lives has in common: what it is given, what it says of itself, what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from membrane.core.errors import SettingError
from membrane.core.progress import Progress, silent
from membrane.data.examples import Examples
from membrane.pptp.locators.twins import Twins
from membrane.pptp.probe import Probe
from membrane.pptp.risk_map import RiskMap
from membrane.training.recipe import Recipe

# causal: weights are changed and the consequence is measured. allocation: the growth of the gap is shared out over what
# moved. diagnostic: where membership can be read. comparison: what others use, read off gradients.
Kind = Literal["causal", "allocation", "diagnostic", "comparison"]


@dataclass(frozen=True)
class Subject:
    """The trained network that risk is located in, and what an estimator may look at.

    Args:
        probe: Final weights, history, and the members and non-members that everything is measured on.
        members: The whole training set, labels as trained; the probe holds a sample of it.
        recipe: How the network was trained, for estimators that train; None if that is not known.
        twins: Two networks that differ in some members alone; None to have them trained.
    """

    probe: Probe
    members: Examples
    recipe: Recipe | None = None
    twins: Twins | None = None

    def trained_by(self, estimator: str, instead: str = "") -> Recipe:
        """The recipe.

        Raises:
            SettingError: If there is none, naming the estimator that needs it.
        """
        if self.recipe is None:
            raise SettingError(
                f"estimator {estimator!r} trains further networks, and how this one was trained is not known. "
                f"Pass recipe=membrane.Recipe(...){instead}, or use an estimator that does not train, such as "
                "mix_response."
            )
        return self.recipe


@dataclass(frozen=True)
class Locator(ABC):
    """Says of every region of one trained network how much membership risk it carries.

    Scores are higher where more risk is. What their unit is, and what they mean, is the estimator's own: compare
    orders of regions between estimators, not values.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    kind: ClassVar[Kind]
    extra_data: ClassVar[str] = "none"  # besides members and holdout
    notes: ClassVar[str] = ""

    @abstractmethod
    def locate(self, subject: Subject, generator: torch.Generator, progress: Progress = silent) -> RiskMap:
        """The risk map.

        Args:
            subject: Not changed.
            generator: Of all that is drawn.
            progress: Told of the work done.

        Raises:
            SettingError: If the subject lacks what this estimator needs.
        """
